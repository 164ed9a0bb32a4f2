"""What tests of models' programs need."""

import pytest

from lm_merge.evaluation.sandbox import SandboxUnavailable, isolation_in_use


@pytest.fixture
def isolated() -> str:
    """The isolation in use; tests that run programs are skipped, with the reason, without one."""
    try:
        return isolation_in_use()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
