"""Findings as data: the rows that an analysis gives to `summary.json`."""

from collections.abc import Sequence

import pandas as pd

Finding = dict[str, object]


def rows_of(table: pd.DataFrame, keys: Sequence[str]) -> list[Finding]:
    """Rows of a tidy table: its keys, then value, low, high (95 %) and n; None for a key it lacks."""
    columns = ("value", "low", "high", "n")
    return [
        {key: _plain(row.get(key)) for key in keys} | {key: row.get(key) for key in columns}
        for row in table.to_dict("records")
    ]


def _plain(key: object) -> object:
    """Blocks that a column of floats holds as whole numbers again; None for what is missing."""
    if key is pd.NA:
        return None
    return int(key) if isinstance(key, float) and key.is_integer() else key
