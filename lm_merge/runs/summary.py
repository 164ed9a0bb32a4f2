"""The findings of a run as data: `summary.json`, a list of flat rows.

    run.save_summary([
        {"finding": "midness", "operator": "slerp", "value": 0.98, "low": 0.97, "high": 0.99, "n": 64},
    ])

Each analysis documents its keys. A value is a number, a text, true, false or null; null is
undefined (NaN in Python). JSON has no infinity: it is written as "Infinity" or "-Infinity", which
`float` reads.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

SUMMARY_FILE = "summary.json"
KEY = re.compile(r"[a-z][a-z0-9_]*")
Value: TypeAlias = str | int | float | bool | None


def summary_rows(rows: Iterable[Mapping[str, object]]) -> list[dict[str, Value]]:
    """The rows in types that JSON has: scalars of numpy become numbers, NaN becomes None.

    Raises ValueError for a summary without rows, an empty row, a key that is not in lower case with
    underscores, and a value that is no scalar.
    """
    found = [
        {_key(key, place): _value(value, key, place) for key, value in row.items()}
        for place, row in enumerate(rows)
    ]
    if not found or not all(found):
        raise ValueError("a summary needs at least one row, and each row at least one key")
    return found


def read_summary(folder: Path) -> list[dict[str, Value]]:
    """The rows of a run's summary. Raises FileNotFoundError for a run without one."""
    path = folder / SUMMARY_FILE
    if not path.exists():
        raise FileNotFoundError(
            f"{folder} has no {SUMMARY_FILE}: the function that computes the run saves it with "
            "record.save_summary(rows)"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def summary_text(rows: Iterable[Mapping[str, object]]) -> str:
    """The content of `summary.json`, one row a line."""
    lines = [json.dumps(row, allow_nan=False, ensure_ascii=False) for row in summary_rows(rows)]
    return "[\n  " + ",\n  ".join(lines) + "\n]\n"


def _key(key: object, place: int) -> str:
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise ValueError(
            f"row {place} of the summary has the key {key!r}; a key is made of lower-case letters, "
            "digits and underscores"
        )
    return key


def _value(value: object, key: object, place: int) -> Value:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return None if math.isnan(value) else value
    raise ValueError(
        f"row {place} of the summary has {key}={value!r} of type {type(value).__name__}; a value is "
        "a number, a text, true, false or None. Write lists as rows, or as a text"
    )
