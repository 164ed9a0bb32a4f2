"""Fixtures that several tests share."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    import lm_merge as lm

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's client: tests fetch nothing
# Every model here is tiny. Read when torch is imported, and by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

PROJECT = Path(__file__).parents[1]


def modules_that_name_shapes() -> list[str]:
    """Modules whose calls are checked against their annotations."""
    names = []
    for path in sorted(PROJECT.glob("lm_merge/**/*.py")):
        if re.search(r"^from jaxtyping import", path.read_text(encoding="utf-8"), re.MULTILINE):
            names.append(".".join(path.relative_to(PROJECT).with_suffix("").parts))
    return [name for name in names if not name.endswith("__init__")]


if os.environ.get(
    "CHECK_SHAPES"
):  # in `make test-tl3` and `make test-lowest`; imports take twice as long
    install_import_hook(modules_that_name_shapes(), "beartype.beartype")

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
