"""Merging 5 of 22 models on disk, next to reading them and to holding all of them in memory.

The files are in the system's cache. Memory is that of anonymous pages: tensors that are mapped from
their files do not count. Every row is a ratio to reading the five models, within a round.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from safetensors.torch import load_file

from analyses.running.command_line import Tables
from benchmarks.memory import PeakWatch
from benchmarks.running import run_benchmark
from benchmarks.timing import interleaved_seconds, median_ratio
from lm_merge.spaces.weights import merge_in_memory
from lm_merge.zoo.ngram_classifier import NgramConfig, NgramForSequenceClassification

READ = "read the merged models"
FILE = "model.safetensors"


class ManyModelsConfig(BaseModel):
    """How many models, of which size, and how often."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_models: PositiveInt = Field(default=22, description="models on disk")
    n_merged: PositiveInt = Field(default=5, description="models that are merged")
    vocab_size: PositiveInt = Field(default=65_536, description="of each model")
    width: PositiveInt = Field(default=96, description="of each model's vectors")
    n_rounds: PositiveInt = Field(default=5, description="rounds that are counted, after one")
    n_threads: PositiveInt = Field(default=1, description="torch threads")


def build(config: ManyModelsConfig, folder: Path) -> None:
    """Random classifiers, one folder each."""
    for number in range(config.n_models):
        torch.manual_seed(number)
        sizes = NgramConfig(config.vocab_size, config.width, 8, id2label={0: "no", 1: "yes"})
        NgramForSequenceClassification(sizes).save_pretrained(folder / str(number))


def systems(config: ManyModelsConfig, folder: Path) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    return {
        READ: partial(read, config.n_merged, folder),
        "merge them (ours)": partial(merge, config.n_merged, folder),
        "hold all, then merge": partial(hold_all, config.n_models, config.n_merged, folder),
    }


def read(n: int, folder: Path) -> list[dict[str, torch.Tensor]]:
    """Copies of all tensors of n models."""
    loaded = (load_file(folder / str(number) / FILE) for number in range(n))
    return [{name: values.clone() for name, values in one.items()} for one in loaded]


def merge(n: int, folder: Path) -> dict[str, torch.Tensor]:
    """The mean of n models, mapped from their files."""
    paths = [str(folder / str(number)) for number in range(n)]
    recipe = {"space": "weights", "operator": "linear", "host": paths[0], "donors": paths[1:]}
    return merge_in_memory(recipe)[0]


def hold_all(n_models: int, n: int, folder: Path) -> dict[str, torch.Tensor]:
    """All models in memory at once, then the mean of n of them."""
    states = read(n_models, folder)
    return {name: torch.stack([one[name] for one in states[:n]]).mean(dim=0) for name in states[0]}


def measure(config: ManyModelsConfig) -> Tables:
    """Table "many_models": seconds and peak memory of each way, and ratios to reading."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        build(config, folder)
        ways = systems(config, folder)
        seconds = interleaved_seconds(ways, config.n_rounds, "many models")
        peaks = {name: peak_mb(place, config, folder) for place, name in enumerate(("", *ways))}
        rows = [
            {
                "system": name,
                "seconds": pd.Series(seconds[name]).median(),
                "ratio_to_reading": median_ratio(seconds, name, READ),
                "peak_anonymous_mb": peaks[name] - peaks[""],
                "n_models": config.n_models,
                "n_merged": config.n_merged,
            }
            for name in ways
        ]
    return {"many_models": pd.DataFrame(rows)}


def peak_mb(place: int, config: ManyModelsConfig, folder: Path) -> float:
    """Peak anonymous memory of a process of its own; place 0: only imports."""
    words = [str(place), str(folder), config.model_dump_json()]
    command = [sys.executable, "-m", "benchmarks.many_models", "--peak", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    run_benchmark("many_models", ManyModelsConfig, measure, description=__doc__ or "", argv=argv)


def _peak(place: str, folder: str, settings: str) -> None:
    config = ManyModelsConfig.model_validate_json(settings)
    torch.set_num_threads(config.n_threads)
    with PeakWatch() as watch:
        kept = None
        if int(place):
            kept = list(systems(config, Path(folder)).values())[int(place) - 1]()
    del kept
    sys.stdout.write(f"{json.dumps(watch.anonymous_mb)}\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        _peak(*sys.argv[2:5])
    else:
        main()
