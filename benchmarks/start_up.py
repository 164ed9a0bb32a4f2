"""Seconds from a fresh process to help, a loaded model and a finished weight merge.

Each next to `import torch` and to transformers' base class of models, which a loaded model needs: the
ratio within a round to `import torch` is the most reliable, since it cancels what else the machine does.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from analyses.running.command_line import Tables
from benchmarks.running import run_benchmark
from benchmarks.timing import interleaved_seconds, median_ratio

PROJECT = Path(__file__).parents[1]
REFERENCE = "import torch"
LOAD = "import lm_merge as lm; lm.load('tiny-instruct')"


class StartUpConfig(BaseModel):
    """How often each process is started."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_rounds: PositiveInt = Field(default=5, description="rounds that are counted, after one")
    n_threads: PositiveInt = Field(default=1, description="threads of this process, which waits")


def commands(out: Path) -> dict[str, list[str]]:
    """Arguments of the interpreter for each process that is timed."""
    recipe = "recipes/bundled_weights_slerp.yaml"
    return {
        REFERENCE: ["-c", "import torch"],
        "import PreTrainedModel": ["-c", "from transformers import PreTrainedModel"],
        "lm-merge weights --help": ["-m", "lm_merge.cli", "weights", "--help"],
        "analyses.similarity --help": ["-m", "analyses.similarity", "--help"],
        "lm.load": ["-c", LOAD],
        "lm-merge weights": ["-m", "lm_merge.cli", "weights", recipe, str(out), "--overwrite=true"],
    }


def measure(config: StartUpConfig) -> Tables:
    """Table "start_up": median seconds of each process, and its ratio to `import torch`."""
    with tempfile.TemporaryDirectory() as folder:
        systems = {
            name: partial(
                subprocess.run,
                [sys.executable, *words],
                cwd=PROJECT,
                check=True,
                capture_output=True,
            )
            for name, words in commands(Path(folder) / "merged").items()
        }
        seconds = interleaved_seconds(systems, config.n_rounds, "starting")
    rows = [
        {
            "process": name,
            "seconds": median(values),
            "ratio": median_ratio(seconds, name, REFERENCE),
            "n_rounds": config.n_rounds,
        }
        for name, values in seconds.items()
    ]
    return {"start_up": pd.DataFrame(rows)}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure what the arguments name."""
    run_benchmark("start_up", StartUpConfig, measure, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    main()
