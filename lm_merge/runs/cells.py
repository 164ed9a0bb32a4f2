"""One cell of a sweep: found, or computed under a lock that dies with its process."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from filelock import FileLock, Timeout
from pydantic import BaseModel

from lm_merge.runs.lookup import find_finished
from lm_merge.runs.record import Run, read_record, start_run

if TYPE_CHECKING:
    import pandas as pd

LOCKS = ".locks"  # folder beside the records; the files in it stay, empty
Tables: TypeAlias = "dict[str, pd.DataFrame]"
CellFunction = Callable[[Any, Run], Mapping[str, "pd.DataFrame"]]


@dataclass(frozen=True)
class Cell:
    """What is to be computed, and where its record goes.

    key: `config_hash` of the configuration. n_attempts: how often a failing cell is tried.
    since: only a run that started at or after it counts as this cell's; None: any.
    """

    analysis: str
    key: str
    config: BaseModel
    function: CellFunction
    root: Path
    n_attempts: int = 1
    since: datetime | None = None

    def finished(self) -> Path | None:
        """Folder of this cell's finished run, or None."""
        folder = find_finished(self.root, self.analysis, self.config)
        if folder is None or self.since is None or read_record(folder).started >= self.since:
            return folder
        return None


@dataclass(frozen=True)
class CellOutcome:
    """How a cell ended: "found" finished, "finished" now, or "failed" with a traceback.

    message: type of the error and the first line of its text.
    """

    key: str
    status: Literal["found", "finished", "failed"]
    folder: Path | None
    error: str | None = None
    message: str | None = None


Executor = Callable[[Sequence[Cell], bool], Iterator[CellOutcome | None]]


def run_cell(cell: Cell, wait: bool) -> CellOutcome | None:
    """Find the cell's finished run or compute it; None where another process computes it now.

    wait: whether to wait for that process instead. The lock is the operating system's: it ends with
    the process that holds it, however that ends. An exception in the cell is its outcome.
    """
    folder = cell.finished()
    if folder is not None:
        return CellOutcome(cell.key, "found", folder)
    locks = cell.root / LOCKS
    if not locks.is_dir():
        raise FileNotFoundError(
            f"{locks} is not seen by this process: the folder of the records must lie on a file "
            "system that all nodes of the cluster share"
        )
    lock = FileLock(locks / f"{cell.analysis}-{cell.key}.lock")
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        return None
    try:
        folder = cell.finished()  # by the process that had the lock until now
        return CellOutcome(cell.key, "found", folder) if folder is not None else _compute(cell)
    finally:
        lock.release()


def serially(cells: Sequence[Cell], wait: bool) -> Iterator[CellOutcome | None]:
    """Executor: one cell after another in this process."""
    for cell in cells:
        yield run_cell(cell, wait)


def record_failure(cell: Cell, error: Exception) -> CellOutcome:
    """Record a cell that failed without a word of its own: its worker was killed, its node is gone."""
    try:
        with start_run(cell.analysis, cell.config, root=cell.root) as run:
            raise error
    except type(error):
        return CellOutcome(cell.key, "failed", run.folder, run.record.error, _message(error))


def _compute(cell: Cell) -> CellOutcome:
    for _ in range(cell.n_attempts - 1):
        outcome = _attempt(cell)
        if outcome.status == "finished":
            return outcome
    return _attempt(cell)


def _attempt(cell: Cell) -> CellOutcome:
    run = None
    try:
        with start_run(cell.analysis, cell.config, root=cell.root) as run:
            for name, table in cell.function(cell.config, run).items():
                run.save_table(name, table)
    except Exception as error:  # noqa: BLE001 # recorded as the cell's; the other cells go on
        told, folder = "".join(traceback.format_exception(error)), run.folder if run else None
        return CellOutcome(cell.key, "failed", folder, told, _message(error))
    return CellOutcome(cell.key, "finished", run.folder)


def _message(error: Exception) -> str:
    """ "ValueError: layer=31 is outside": what it is and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *lines[:1]])
