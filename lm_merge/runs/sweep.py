"""A whole sweep: all its cells, and one table of what they gave."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from lm_merge.runs.cells import (
    LOCKS,
    Cell,
    CellFunction,
    CellOutcome,
    Executor,
    Tables,
    serially,
)
from lm_merge.runs.identity import config_hash
from lm_merge.runs.record import checked_name, read_record

if TYPE_CHECKING:
    import pandas as pd


def sweep(
    analysis: str,
    configs: Sequence[BaseModel],
    function: CellFunction,
    *,
    root: Path = Path("runs"),
    executor: Executor = serially,
    retries: int = 0,
    fresh: bool = False,
    on_outcome: Callable[[CellOutcome], None] | None = None,
) -> list[CellOutcome]:
    """Run `function(config, record) -> tables` for every configuration; outcomes in their order.

    Each cell is a run of `analysis` under `root` with a record of its own; a cell with a finished
    run is found and not computed, so a sweep that was killed goes on where it was. Several processes
    may sweep one folder: they share the cells, none is computed by two at once.

    function: must depend on its configuration alone, then the executor changes no value.
    executor: `serially`, or what `on_ray` gives. retries: further attempts at a failing cell.
    fresh: count only runs that start from now on. on_outcome: called after each cell, for progress.

    A cell that fails is recorded with its traceback and the others go on. Raises ValueError for no
    configuration, or two that are equal.
    """
    if retries < 0:
        raise ValueError(f"retries={retries}: give 0 or more")
    keys = [config_hash(config) for config in configs]
    _check_keys(keys)
    checked_name(analysis, "analysis")
    root = root.absolute()
    (root / LOCKS).mkdir(parents=True, exist_ok=True)
    since = datetime.now(UTC) if fresh else None
    cells = [
        Cell(analysis, key, config, function, root, retries + 1, since)
        for key, config in zip(keys, configs, strict=True)
    ]
    outcomes: dict[str, CellOutcome] = {}
    for wait in (False, True):  # first what nobody else computes, then what others were at
        pending = [cell for cell in cells if cell.key not in outcomes]
        for outcome in executor(pending, wait):
            if outcome is not None:
                outcomes[outcome.key] = outcome
                if on_outcome is not None:
                    on_outcome(outcome)
    return [outcomes[key] for key in keys]


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
