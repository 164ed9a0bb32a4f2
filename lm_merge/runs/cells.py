"""One cell of a sweep: found, or computed under a lock that dies with its process."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from filelock import FileLock, Timeout
from pydantic import BaseModel

from lm_merge.runs.identity import config_hash
from lm_merge.runs.kept_objects import BETWEEN_CELLS
from lm_merge.runs.lookup import find_finished
from lm_merge.runs.record import Run, checked_name, read_record, run_id, start_run

if TYPE_CHECKING:
    import pandas as pd

LOCKS = ".locks"  # folder next to the records; the files in it stay, empty
Tables: TypeAlias = "dict[str, pd.DataFrame]"
CellFunction = Callable[[Any, Run], Mapping[str, "pd.DataFrame"]]


@dataclass(frozen=True)
class Cell:
    """What is to be computed, and where its record goes.

    key: `config_hash` of the configuration. n_attempts: how often a failing cell is tried.
    since: only a run that started at or after it counts as this cell's; None: any. keep_bytes: budget
    of `BETWEEN_CELLS` in the process that computes it. needs: keys of cells that must be finished
    before; the function finds the folders of their runs, in that order, in `record.needs`.
    """

    analysis: str
    key: str
    config: BaseModel
    function: CellFunction
    root: Path
    n_attempts: int = 1
    since: datetime | None = None
    keep_bytes: int = 0
    needs: tuple[str, ...] = ()
    needed: tuple[Path, ...] = ()  # folders of the finished runs of `needs`, once they are known

    def finished(self) -> Path | None:
        """Folder of this cell's finished run, or None."""
        needs = [run_id(read_record(one)) for one in self.needed]
        folder = find_finished(self.root, self.analysis, self.config, needs)
        if folder is None or self.since is None or read_record(folder).started >= self.since:
            return folder
        return None


def make_cell(
    analysis: str,
    config: BaseModel,
    function: CellFunction,
    root: Path,
    retries: int = 0,
    since: datetime | None = None,
    keep_bytes: int = 0,
    needs: Sequence[str] = (),
) -> Cell:
    """A cell with its key. Raises ValueError for what could not run."""
    if retries < 0:
        raise ValueError(f"retries={retries}: give 0 or more")
    checked_name(analysis, "analysis")
    root, key = root.absolute(), config_hash(config)
    return Cell(analysis, key, config, function, root, retries + 1, since, keep_bytes, tuple(needs))


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


def record_failure(cell: Cell, error: Exception) -> CellOutcome:
    """Record a cell whose process could not: it was killed, or its node is gone."""
    try:
        with start_run(cell.analysis, cell.config, root=cell.root, needs=cell.needed) as run:
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
        BETWEEN_CELLS.budget_bytes = cell.keep_bytes
        with start_run(cell.analysis, cell.config, root=cell.root, needs=cell.needed) as run:
            for name, table in cell.function(cell.config, run).items():
                run.save_table(name, table)
    except Exception as error:  # noqa: BLE001 # recorded as the cell's; the other cells go on
        report, folder = "".join(traceback.format_exception(error)), run.folder if run else None
        return CellOutcome(cell.key, "failed", folder, report, _message(error))
    return CellOutcome(cell.key, "finished", run.folder)


def _message(error: Exception) -> str:
    """Type and first line of an error, for example "ValueError: layer=31 is outside"."""
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *lines[:1]])
