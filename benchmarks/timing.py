"""Interleaved timing: every system once a round, so that a slow minute of the machine hits all."""

import time
from collections.abc import Callable, Mapping
from statistics import median

from rich.console import Console
from rich.progress import track


def interleaved_seconds(
    systems: Mapping[str, Callable[[], object]], n_rounds: int, what: str
) -> dict[str, list[float]]:
    """Wall seconds of each system in each round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    console = Console(stderr=True)
    for number in track(range(n_rounds + 1), what, transient=True, console=console):
        for name, run in systems.items():
            start = time.perf_counter()
            run()
            if number > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(seconds: Mapping[str, list[float]], name: str, reference: str) -> float:
    """Median over rounds of the ratio within a round, which cancels what a round has in common."""
    pairs = zip(seconds[name], seconds[reference], strict=True)
    return median(ours / theirs for ours, theirs in pairs)
