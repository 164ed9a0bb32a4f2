"""What `import lm_merge` offers, and what it does not load before it is asked."""

import json
import subprocess
import sys

import pytest

import lm_merge as lm
from lm_merge import spaces


@pytest.mark.parametrize("package", [lm, spaces], ids=lambda package: package.__name__)
def test_every_public_name_is_there(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="has no attribute 'unheard_of'"):
        package.unheard_of  # noqa: B018 # the access is the test


def test_a_command_line_starts_without_what_only_some_commands_need():
    code = "import json, sys, lm_merge.cli; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"torch", "transformers", "transformer_lens", "pandas", "plotly", "sklearn"}
    assert heavy.isdisjoint(json.loads(done.stdout))
