"""Seconds of the demo, and of the default tests, on a quiet machine and next to busy cores.

What other processes take must not cost more than their share: `ratio` is wanted below 2. Thread settings
of the caller's are left out, so that those of the library count. Run it on a machine that is quiet.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from analyses.running.command_line import Tables
from benchmarks.running import run_benchmark
from lm_merge.threads import USER_SETTINGS

PROJECT = Path(__file__).parents[1]
DEMO, TESTS = "lm-merge demo", "make test"


class BusyCoreConfig(BaseModel):
    """What is run, and next to how many busy cores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    demo: bool = Field(default=True, description="run the demo")
    tests: bool = Field(default=False, description="run the default tests, as make test does")
    n_busy: PositiveInt = Field(default=1, description="processes that each keep a core busy")
    n_rounds: PositiveInt = Field(default=1, description="rounds, each quiet first")
    n_threads: PositiveInt = Field(default=1, description="threads of this process, which waits")


def commands(config: BusyCoreConfig, out: Path) -> dict[str, list[str]]:
    """Arguments of the interpreter for each process that is timed; out: a new folder."""
    found = {}
    if config.demo:
        found[DEMO] = ["-m", "lm_merge.cli", "demo", "--runs", str(out)]
    if config.tests:
        found[TESTS] = ["-m", "pytest", "-q", "-n", "logical", "--dist", "worksteal"]
    return found


def measure(config: BusyCoreConfig) -> Tables:
    """Table "busy_core": process, median quiet_s and busy_s, ratio, n_busy, n_cores, n_rounds."""
    seconds: dict[str, dict[str, list[float]]] = {}
    for _ in range(config.n_rounds):
        for state, n_busy in (("quiet", 0), ("busy", config.n_busy)):
            with busy_cores(n_busy), tempfile.TemporaryDirectory() as folder:
                for name, words in commands(config, Path(folder) / "runs").items():
                    held = seconds.setdefault(name, {"quiet": [], "busy": []})
                    held[state].append(_seconds(words))
    rows = []
    for name, held in seconds.items():
        quiet, busy = median(held["quiet"]), median(held["busy"])
        found = {"process": name, "quiet_s": quiet, "busy_s": busy, "ratio": busy / quiet}
        cores = {"n_busy": config.n_busy, "n_cores": os.cpu_count()}
        rows.append({**found, **cores, "n_rounds": config.n_rounds})
    return {"busy_core": pd.DataFrame(rows)}


@contextmanager
def busy_cores(n: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Inside, this many processes compute without a pause."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _seconds(words: Sequence[str]) -> float:
    own = (*USER_SETTINGS, "OMP_WAIT_POLICY")
    free = {key: value for key, value in os.environ.items() if key not in own}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *words], cwd=PROJECT, check=True, env=free, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure what the arguments name."""
    run_benchmark("busy_core", BusyCoreConfig, measure, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    main()
