"""Fixtures that several tests share."""

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import lm_merge as lm

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's client: tests fetch nothing
# Every model here is tiny. Read when torch is imported, and by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Nothing of ours, nor torch, is imported here: the process that hands tests out to workers reads this
# file before it starts them, and would import for nothing.


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_instruct() -> "lm.HookedLM":
    import lm_merge as lm

    return lm.load("tiny-instruct")


@pytest.fixture(scope="session")
def tiny_thinker() -> "lm.HookedLM":
    import lm_merge as lm

    return lm.load("tiny-thinker")


@pytest.fixture(scope="session")
def small_report(tmp_path_factory):
    """The configuration of a small report, where it went, its page and its tables; run once a worker."""
    from analyses.report import analysis as report
    from analyses.report.config import ReportConfig
    from analyses.running.options import OutputOptions

    sizes = {"n_questions": 4, "n_prompts": 8, "n_texts": 2, "alphas": (0.5, 0.75)}
    output = OutputOptions(runs=tmp_path_factory.mktemp("runs"))
    config = ReportConfig(**sizes)
    return config, output, *report.write(config, output=output, quiet=True)
