"""Cells that leave a trace, importable by the processes that the tests start and kill."""

import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from lm_merge.runs import Trial, grid, sweep
from lm_merge.runs.identity import code_version, config_hash
from lm_merge.runs.record import Run, read_record
from lm_merge.runs.summary import read_summary


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = 0.5
    operator: str = "slerp"
    layers: tuple[int, ...] = (3,)
    arguments: dict[str, float] = {}
    folder: Path = Path(".")  # of the trace


def configs(folder: Path, n: int) -> list[Settings]:
    return grid(Settings(folder=folder), {"alpha": [index / n for index in range(n)]})


def computed(config: Settings, record: Run) -> dict[str, pd.DataFrame]:
    """Numbers that would show another order of summation, and a line of trace."""
    trace(config)
    values = np.random.default_rng(int(1000 * config.alpha)).standard_normal((2, 50, 50))
    product = values[0] @ values[1] * config.alpha
    rows = [{"layer": layer, "value": float(value)} for layer, value in enumerate(product.sum(0))]
    record.update(seeds=(int(1000 * config.alpha),))
    return {"values": pd.DataFrame(rows), "total": pd.DataFrame([{"value": product.sum()}])}


def loading(config: Settings, record: Run) -> dict[str, pd.DataFrame]:
    """A cell that measures a bundled model; leaves the process and the model it measured."""
    from lm_merge.spaces.source_loader import SourceLoader

    model = SourceLoader()("tiny-instruct")
    if not hasattr(model, "seen"):
        model.seen = True  # pyright: ignore[reportAttributeAccessIssue] # a mark of this test
        with (config.folder / "loaded").open("a") as file:
            file.write(f"{os.getpid()}\n")
    return computed(config, record)


def slow(config: Settings, record: Run) -> dict[str, pd.DataFrame]:
    tables = computed(config, record)
    time.sleep(0.03)
    return tables


def held(config: Settings, record: Run) -> dict[str, pd.DataFrame]:
    """Does not end while the file `hold` is there."""
    tables = computed(config, record)
    while (config.folder / "hold").exists():
        time.sleep(0.01)
    return tables


def failing(config: Settings, record: Run) -> dict[str, pd.DataFrame]:
    if config.alpha == 0.5:
        record.save_table("partial", pd.DataFrame([{"value": 1.0}]))
        raise ArithmeticError(f"alpha={config.alpha} is cursed")
    return computed(config, record)


def failing_once(config: Settings, record: Run) -> dict[str, pd.DataFrame]:
    tables = computed(config, record)
    if len(traced(config.folder)[config.alpha]) == 1:
        raise ArithmeticError("not the first time")
    return tables


def killed(config: Settings, record: Run) -> dict[str, pd.DataFrame]:
    """At 0.5 the process is killed, as one that takes too much memory is."""
    tables = computed(config, record)
    if config.alpha == 0.5:
        os.kill(os.getpid(), signal.SIGKILL)
    return tables


def killed_once(config: Settings, record: Run) -> dict[str, pd.DataFrame]:
    tables = computed(config, record)
    if config.alpha == 0.5 and len(traced(config.folder)[config.alpha]) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return tables


def merging_killed_once(config: Any, record: Run) -> dict[str, pd.DataFrame]:
    """A cell of analyses.similarity_merging; the first attempt at one of them is killed."""
    from analyses.similarity_merging.analysis import run

    mark = config.data / "killed"
    if (config.target, config.method) == ("nl-NL", "soft") and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run(config, record)


def summed(config: Settings, record: Run) -> dict[str, pd.DataFrame]:
    """With a summary: a hill with its top at 0.7, and what the needed runs gave."""
    tables = computed(config, record)
    before = [float(row["value"]) for folder in record.needs for row in read_summary(folder)]
    value = -((config.alpha - 0.7) ** 2) + sum(before)
    record.save_summary([{"metric": "height", "value": value, "n": len(before)}])
    return tables


def recovered_above(config: Settings, record: Run) -> dict[str, pd.DataFrame]:
    """Recoveries of two tasks that want different alphas; none below 0.5."""
    if config.alpha < 0.5:
        raise ArithmeticError("no merge there")
    places = (0.6, 0.9)
    record.save_summary([{"recovery": 1 - abs(config.alpha - place)} for place in places])
    return computed(config, record)


def summed_but_for_one(config: Settings, record: Run) -> dict[str, pd.DataFrame]:
    if config.alpha == 0.5:
        raise ArithmeticError("no height here")
    return summed(config, record)


class Halving:
    """A proposer: steps away from the best so far, by half of the step before."""

    def __init__(self, folder: Path, n: int = 6) -> None:
        self.folder, self.n, self.told = folder, n, []
        self.n_asked = 0

    def ask(self) -> Settings | None:
        if self.n_asked == self.n:
            return None
        self.n_asked += 1
        heights = [
            (trial.summary[0]["value"], trial.config.alpha) for trial in self.told if trial.summary
        ]
        best = max(heights)[1] if heights else 0.5
        sign = 1 if len(self.told) % 2 else -1
        return Settings(alpha=best + sign * 0.25 / self.n_asked, folder=self.folder)

    def tell(self, trial: Trial) -> None:
        self.told.append(trial)


def trace(config: Settings) -> None:
    with (config.folder / "trace").open("a") as file:  # one write of one line: whole
        file.write(f"{config.alpha} {time.time()}\n")


def traced(folder: Path) -> dict[float, list[float]]:
    """alpha -> the moments at which its cell was begun."""
    begun: dict[float, list[float]] = {}
    path = folder / "trace"
    for line in path.read_text().splitlines() if path.exists() else []:
        alpha, moment = map(float, line.split())
        begun.setdefault(alpha, []).append(moment)
    return begun


def finished(root: Path) -> Counter[str]:
    """config_hash -> number of finished records."""
    records = [read_record(path.parent) for path in root.glob("*/record.json")]
    return Counter(record.config_hash for record in records if record.status == "finished")


def keys(settings: list[Settings]) -> list[str]:
    return [config_hash(one) for one in settings]


def sweep_in_child(connection: Any, folder: Path, n: int, function: Any, stop_at: int) -> None:
    """Sweep; before the file is opened, renamed or made that is number stop_at, be killed."""
    seen = [0]

    def kill(event: str, arguments: tuple) -> None:
        if event in ("open", "os.rename", "os.mkdir"):
            seen[0] += 1
            if seen[0] == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)

    settings = configs(folder, n)
    code_version(Settings)  # reads files once a process, before those of the sweep are counted
    sys.addaudithook(kill)
    connection.send("ready")
    outcomes = sweep("similarity", settings, function, root=folder / "runs")
    connection.send((seen[0], [outcome.status for outcome in outcomes]))
