"""Progress of work whose parts differ in size: a bar, or lines, with the time that is left."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

FIRST_LINE_S, LINES_APART_S = 5.0, 30.0
Advance = Callable[[float], None]


@contextmanager
def counted(
    what: str, total: float, *, quiet: bool, clock: Callable[[], float] = time.monotonic
) -> Iterator[Advance]:
    """Inside, a call with the amount that was done moves a bar on standard error; it goes at the end.

    total: all that there is to do, in the same unit. Where standard error is no terminal, a line says
    what begins, and from the fifth second on, at most twice a minute, how much is done and how long the
    rest takes at the pace so far.
    """
    console = Console(stderr=True)
    if quiet or console.is_terminal:
        with Progress(console=console, transient=True, disable=quiet) as bar:
            task = bar.add_task(what, total=total)
            yield lambda amount: bar.advance(task, amount)
        return
    sys.stderr.write(f"{what} ...\n")
    yield _Lines(what, total, clock).advance


class _Lines:
    def __init__(self, what: str, total: float, clock: Callable[[], float]) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._start, self._done = clock(), 0.0
        self._due = FIRST_LINE_S

    def advance(self, amount: float) -> None:
        self._done += amount
        passed = self._clock() - self._start
        if passed < self._due or self._done <= 0:
            return
        self._due = passed + LINES_APART_S
        left = passed * (self._total - self._done) / self._done
        share = self._done / self._total
        sys.stderr.write(
            f"{self._what}: {share:.0%} after {passed:.0f} s, some {left:.0f} s left\n"
        )
