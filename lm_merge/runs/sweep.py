"""A whole sweep: all its cells, and one table of what they gave."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from lm_merge.runs.cells import Cell, CellFunction, CellOutcome, Tables, make_cell
from lm_merge.runs.executors import Executor, Flight, InTurn
from lm_merge.runs.identity import config_hash
from lm_merge.runs.record import read_record

if TYPE_CHECKING:
    import pandas as pd


def sweep(
    analysis: str,
    configs: Sequence[BaseModel],
    function: CellFunction,
    *,
    root: Path = Path("runs"),
    executor: Executor | None = None,
    at_once: int | None = None,
    retries: int = 0,
    fresh: bool = False,
    keep_bytes: int = 0,
    on_outcome: Callable[[CellOutcome], None] | None = None,
) -> list[CellOutcome]:
    """Run `function(config, record) -> tables` for every configuration; outcomes in their order.

    Each cell is a run of `analysis` under `root` with a record of its own; a cell with a finished
    run is found and not computed, so a sweep that was killed goes on where it was. Several processes
    may sweep one folder: they share the cells, none is computed by two at once.

    function: must depend on its configuration alone, then the executor changes no value.
    executor: what `on_ray` gives; None: in this process, one after another. at_once: cells under way
    at most, None for as many as the executor holds. retries: further attempts at a failing cell.
    fresh: count only runs that start from now on. keep_bytes: budget for models that stay loaded from
    cell to cell (`BETWEEN_CELLS`). on_outcome: called after each cell, for progress.

    A cell that fails is recorded with its traceback and the others go on. Raises ValueError for no
    configuration, or two that are equal.
    """
    _check_keys([config_hash(config) for config in configs])
    since = datetime.now(UTC) if fresh else None
    cells = [
        make_cell(analysis, config, function, root, retries, since, keep_bytes)
        for config in configs
    ]
    return run_cells(cells, executor=executor, at_once=at_once, on_outcome=on_outcome)


def run_cells(
    cells: Sequence[Cell],
    *,
    executor: Executor | None = None,
    at_once: int | None = None,
    on_outcome: Callable[[CellOutcome], None] | None = None,
) -> list[CellOutcome]:
    """Run cells, each after those that it needs; outcomes in the order of the cells.

    They may be of several analyses. A cell of which a needed one failed is not run: it fails with that
    reason and without a record. Raises ValueError for equal keys, needs that are not among the cells,
    and cells that need each other.
    """
    _check_keys([cell.key for cell in cells])
    by_key = {cell.key: cell for cell in cells}
    for cell in cells:
        for key in cell.needs:
            if key not in by_key:
                raise ValueError(f"cell {cell.key} needs {key}, which is not among the cells")
    order = TopologicalSorter({cell.key: cell.needs for cell in cells})
    try:
        order.prepare()
    except CycleError as error:
        raise ValueError(f"cells need each other: {' -> '.join(error.args[1])}") from error
    flight, outcomes = Flight(executor or InTurn(), at_once), dict[str, CellOutcome]()

    def end(outcome: CellOutcome) -> None:
        outcomes[outcome.key] = outcome
        order.done(outcome.key)
        if on_outcome is not None:
            on_outcome(outcome)

    def start_ready() -> None:
        while ready := sorted(order.get_ready(), key=list(by_key).index):
            for key in ready:
                needed = [outcomes[one] for one in by_key[key].needs]
                failed = [one for one in needed if one.status == "failed"]
                if failed:
                    end(_unmet(key, failed[0]))
                else:
                    folders = tuple(one.folder for one in needed if one.folder is not None)
                    flight.add(replace(by_key[key], needed=folders))

    start_ready()
    for _, outcome in flight.outcomes():
        end(outcome)
        start_ready()
    return [outcomes[cell.key] for cell in cells]


def _unmet(key: str, need: CellOutcome) -> CellOutcome:
    message = f"needs cell {need.key}, which failed: {need.message}"
    return CellOutcome(key, "failed", None, message, message)


def collect(outcomes: Sequence[CellOutcome], labels: Sequence[Mapping[str, Any]]) -> Tables:
    """The tables of all finished cells, by name, each row with the values that tell its cell.

    labels: one mapping for each outcome, as `grid_labels` gives. A value that a column of the cell's
    own holds already is not repeated; where the two differ the grid's is `grid_<name>`. Lists and
    mappings are written as JSON. `config_hash` leads to the cell's record.
    """
    import pandas as pd  # takes long to import, and only whoever asks for tables needs it

    labels = _plain(labels)
    parts: dict[str, list[pd.DataFrame]] = {}
    for outcome, label in zip(outcomes, labels, strict=True):
        if outcome.status == "failed":
            continue
        assert outcome.folder is not None
        files = [Path(name) for name in read_record(outcome.folder).files]
        for path in (outcome.folder / file for file in files if file.suffix == ".parquet"):
            table = pd.read_parquet(path)
            columns = dict(_columns(label, table)) | {"config_hash": outcome.key}
            rest = [name for name in table.columns if name not in columns]
            labelled = table.assign(**columns).reindex(columns=[*columns, *rest])
            parts.setdefault(path.stem, []).append(labelled)
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}


def cell_table(
    outcomes: Sequence[CellOutcome], labels: Sequence[Mapping[str, Any]]
) -> "pd.DataFrame":
    """One row a cell: its values, config_hash, status, and its error in one line."""
    import pandas as pd

    rows = [
        {
            **label,
            "config_hash": outcome.key,
            "status": "failed" if outcome.status == "failed" else "finished",
            "error": outcome.message,
        }
        for outcome, label in zip(outcomes, _plain(labels), strict=True)
    ]
    return pd.DataFrame(rows)


def _check_keys(keys: Sequence[str]) -> None:
    if not keys:
        raise ValueError("configs is empty: a sweep needs at least one configuration")
    first: dict[str, int] = {}
    for index, key in enumerate(keys):
        if first.setdefault(key, index) != index:
            raise ValueError(
                f"cells {first[key]} and {index} have the same configuration; list each value once"
            )


def _columns(label: Mapping[str, Any], table: "pd.DataFrame") -> list[tuple[str, Any]]:
    columns = []
    for name, value in label.items():
        if name not in table:
            columns.append((name, value))
        elif not (table[name] == value).all():
            columns.append((f"grid_{name}", value))
    return columns


def _plain(labels: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The labels, with names whose values are not all numbers or all strings written as JSON."""
    kinds: dict[str, set[str]] = {}
    for label in labels:
        for name, value in label.items():
            kinds.setdefault(name, set()).add(_kind(value))
    plain = {
        name for name, kind in kinds.items() if len(kind - {"none"}) <= 1 and "other" not in kind
    }
    return [
        {name: value if name in plain else _json(value) for name, value in label.items()}
        for label in labels
    ]


def _kind(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "other"


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
