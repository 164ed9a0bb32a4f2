"""What merging weights costs, in units of the disk: `python -m benchmarks.weights`.

Each method merges a random trio in a process of its own, start-up included. The unit is a process that
only reads the same files and writes as many bytes as one model has. Where mergekit is installed (on
the PATH, or by --peer), it does the same recipe in the same rounds.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from analyses.running.command_line import Tables, progress
from benchmarks.memory import memory_mb
from benchmarks.pairs import random_native
from benchmarks.running import run_benchmark

FLOOR = "read and write only"
FLOOR_CODE = """
import sys
buffer, paths = bytearray(1 << 23), sys.argv[1:]
for path in paths[1:]:
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer): pass
with open(paths[1], "rb", buffering=0) as file: size = file.seek(0, 2)
with open(paths[0], "wb", buffering=0) as file:
    while size > 0: size -= file.write(memoryview(buffer)[:size])
"""
DRIFT = 1e-3  # of the descendants from their ancestor, as fine-tuning gives


class WeightsConfig(BaseModel):
    """Sizes of the trio and what is merged; 150M parameters unless given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_blocks: PositiveInt = Field(default=15, description="blocks of each model")
    d_model: PositiveInt = Field(default=768, description="width, a multiple of 128")
    d_vocab: PositiveInt = Field(default=32000, description="vocabulary")
    methods: tuple[str, ...] = Field(
        default=("linear", "slerp", "task_arithmetic", "ties", "dare_ties"),
        description="methods, one at a time",
    )
    dtype: str = Field(default="float32", description="torch dtype of the checkpoints")
    n_rounds: PositiveInt = Field(default=3, description="timed rounds")
    n_threads: PositiveInt = Field(default=2, description="tensors at a time")
    peer: str | None = Field(
        default=None, description="mergekit-yaml of the peer; that on the PATH unless given"
    )


def recipe(method: str, folder: Path) -> dict[str, Any]:
    """A recipe that both read: ancestor and two descendants, or for slerp the descendants alone."""
    base, first, second = (str(folder / name) for name in ("base", "first", "second"))
    if method == "slerp":
        models = [{"model": first}, {"model": second}]
        given = {"base_model": first, "models": models, "parameters": {"t": 0.5}}
    elif method == "linear":
        given = {
            "models": [{"model": m, "parameters": {"weight": 1.0}} for m in (base, first, second)]
        }
    else:
        models = [
            {"model": m, "parameters": {"weight": 0.5, "density": 0.5}} for m in (first, second)
        ]
        if method == "task_arithmetic":
            models = [{"model": m, "parameters": {"weight": 0.5}} for m in (first, second)]
        given = {"base_model": base, "models": models}
    return {"merge_method": method, **given}


def measure(config: WeightsConfig) -> pd.DataFrame:
    """Columns: method, system, wall_s, ratio, peak_anonymous_mb, anonymous_ratio, largest_tensor_mb.

    ratio: median over rounds of wall time over that of reading and writing only, in the same round;
    anonymous_ratio: peak anonymous memory over the size of the output.
    """
    peer = config.peer or shutil.which("mergekit-yaml")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        largest_mb = _write_trio(config, folder)
        for method in config.methods:
            (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe(method, folder)))
            commands = _commands(config, method, folder, peer)
            runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
            for number in progress(range(config.n_rounds + 1), method, quiet=False):
                for name, command in commands.items():
                    shutil.rmtree(folder / "out", ignore_errors=True)
                    (folder / "copy").unlink(missing_ok=True)
                    if number > 0:
                        runs[name].append(_run(command))
                    else:
                        _run(command)  # files and byte code come into the cache; not counted
            size_mb = (folder / "first" / "model.safetensors").stat().st_size / 1e6
            for name, values in runs.items():
                pairs = zip(values, runs[FLOOR], strict=True)
                peak = median(memory for _, memory in values)
                rows.append(
                    {
                        "method": method,
                        "system": name,
                        "wall_s": median(wall for wall, _ in values),
                        "ratio": median(ours[0] / floor[0] for ours, floor in pairs),
                        "peak_anonymous_mb": peak,
                        "anonymous_ratio": peak / size_mb,
                        "largest_tensor_mb": largest_mb,
                    }
                )
    return pd.DataFrame(rows)


def _write_trio(config: WeightsConfig, folder: Path) -> float:
    import torch

    model = random_native(
        0, n_blocks=config.n_blocks, d_model=config.d_model, d_vocab=config.d_vocab
    )
    model = model.to(getattr(torch, config.dtype))
    model.save_pretrained(folder / "base", max_shard_size="100GB")
    for name in ("first", "second"):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += DRIFT * torch.randn_like(parameter)
        model.save_pretrained(folder / name, max_shard_size="100GB")
    return max(p.numel() * p.element_size() for p in model.parameters()) / 1e6


def _commands(
    config: WeightsConfig, method: str, folder: Path, peer: str | None
) -> dict[str, list[str]]:
    names = ("first", "second") if method == "slerp" else ("base", "first", "second")
    inputs = [str(folder / name / "model.safetensors") for name in names]
    work = [str(folder / "recipe.yaml"), str(folder / "out")]
    commands = {
        FLOOR: [sys.executable, "-c", FLOOR_CODE, str(folder / "copy"), *inputs],
        "ours": [sys.executable, "-m", "lm_merge.cli", "weights", *work],
    }
    commands["ours"] += ["--threads", str(config.n_threads)]
    if peer is not None:
        commands["mergekit"] = [peer, *work, "--no-copy-tokenizer", "--quiet"]
    return commands


def _run(command: list[str]) -> tuple[float, float]:
    """Wall seconds of a process, and its peak anonymous memory in MB (Linux; NaN elsewhere)."""
    start, samples = time.perf_counter(), []
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        while process.poll() is None:
            samples += [mb for name, mb in memory_mb(process.pid).items() if name == "RssAnon"]
            time.sleep(0.005)
        wall = time.perf_counter() - start
        if process.returncode != 0:
            output.seek(0)
            raise ValueError(f"{' '.join(command[:4])} failed: {output.read().decode()[-500:]}")
    return wall, max(samples, default=float("nan"))


def tables(config: WeightsConfig) -> Tables:
    """Table "weights"."""
    return {"weights": measure(config)}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure, record, print the table."""
    run_benchmark("weights", WeightsConfig, tables, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    main()
