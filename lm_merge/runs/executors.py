"""What runs cells: in this process, one after another; `on_ray` has the other one."""

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from lm_merge.runs.cells import LOCKS, Cell, CellOutcome, run_cell


class Executor(Protocol):
    """Takes cells and gives each back when it has ended; None where another process computes it."""

    def submit(self, cell: Cell, wait: bool) -> None:
        """Take a cell. wait: whether to wait for another process that computes it."""
        ...

    def next_done(self) -> tuple[Cell, CellOutcome | None]:
        """The next submitted cell that has ended, whichever that is."""
        ...

    def drop(self) -> None:
        """Forget the cells that have not ended."""
        ...


class InTurn:
    """One cell after another in this process, in the order in which they were submitted."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Cell, bool]] = deque()

    def submit(self, cell: Cell, wait: bool) -> None:
        self._waiting.append((cell, wait))

    def next_done(self) -> tuple[Cell, CellOutcome | None]:
        cell, wait = self._waiting.popleft()
        return cell, run_cell(cell, wait)

    def drop(self) -> None:
        self._waiting.clear()


class Flight:
    """Cells on their way through an executor, at most `at_once` of them (None: all) at a time.

    A cell that another process computes is tried again, then waiting, when nothing else is left.
    """

    def __init__(self, executor: Executor, at_once: int | None = None) -> None:
        if at_once is not None and at_once < 1:
            raise ValueError(f"at_once={at_once}: give 1 or more, or None for no limit")
        self._executor, self._at_once = executor, at_once
        self._queue: deque[Cell] = deque()
        self._elsewhere: deque[Cell] = deque()

    def add(self, cell: Cell) -> None:
        """Queue a cell; also while the outcomes are being read."""
        (cell.root / LOCKS).mkdir(parents=True, exist_ok=True)
        self._queue.append(cell)

    def outcomes(self) -> Iterator[tuple[Cell, CellOutcome]]:
        """Every cell with its outcome, as they end, until none is left."""
        n_under_way = 0
        try:
            while True:
                n_under_way += self._submit(self._queue, False, n_under_way)
                if not n_under_way:
                    n_under_way += self._submit(self._elsewhere, True, 0)
                if not n_under_way:
                    return
                cell, outcome = self._executor.next_done()
                n_under_way -= 1
                if outcome is None:
                    self._elsewhere.append(cell)
                else:
                    yield cell, outcome
        finally:
            self._executor.drop()  # where the caller was interrupted

    def _submit(self, cells: deque[Cell], wait: bool, n_under_way: int) -> int:
        room = len(cells) if self._at_once is None else self._at_once - n_under_way
        n_taken = min(room, len(cells))
        for _ in range(n_taken):
            self._executor.submit(cells.popleft(), wait)
        return n_taken
