"""Fixtures that several tests share."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's client: tests fetch nothing

import pytest  # noqa: E402
import torch  # noqa: E402

import lm_merge as lm  # noqa: E402

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # one process a core already


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_instruct() -> lm.HookedLM:
    return lm.load("tiny-instruct")


@pytest.fixture(scope="session")
def tiny_thinker() -> lm.HookedLM:
    return lm.load("tiny-thinker")


@pytest.fixture(scope="session")
def small_report(tmp_path_factory):
    """The options of a small report, its page and its tables; run once a worker."""
    from analyses import report

    sizes = {"n_questions": 4, "n_prompts": 8, "n_texts": 2, "alphas": (0.5, 0.75)}
    options = report.ReportOptions(**sizes, runs=tmp_path_factory.mktemp("runs"))
    return options, *report.write(options, {}, quiet=True)
