"""Cells that one analysis computes on its way: found or computed, their failures by name at the end."""

import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from lm_merge.runs.cells import CellFunction, CellOutcome
from lm_merge.runs.executors import Executor
from lm_merge.runs.identity import config_hash
from lm_merge.runs.sweep import sweep


class CellsFailed(ValueError):
    """Some cells failed; all others are done and recorded."""


def finished_cells(
    analysis: str,
    configs: Mapping[str, BaseModel],
    function: CellFunction,
    root: Path,
    *,
    executor: Executor | None = None,
    quiet: bool = True,
) -> dict[str, Path]:
    """Folder of the finished run of every cell, by the cell's name.

    A cell that is finished already is found, so that a run that was killed goes on where it was. Raises
    CellsFailed, after the last cell, with the names of those that failed and their errors.
    """
    names = {config_hash(config): name for name, config in configs.items()}
    n_done = 0

    def report(outcome: CellOutcome) -> None:
        nonlocal n_done
        n_done += 1
        if not quiet:
            said = f"{analysis}: {names[outcome.key]} {outcome.status}, {n_done} of {len(configs)}"
            sys.stderr.write(f"{said}\n")

    outcomes = sweep(
        analysis, list(configs.values()), function, root=root, executor=executor, on_outcome=report
    )
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        lines = [f"{names[one.key]} ({one.message})" for one in failed]
        raise CellsFailed(
            f"{len(failed)} of {len(outcomes)} cells of {analysis} failed: {'; '.join(lines)}; all "
            "others are kept, and the same command goes on with these"
        )
    return {names[one.key]: one.folder for one in outcomes if one.folder is not None}
