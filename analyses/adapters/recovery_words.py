"""A task's recovery in a line of text: its value and interval, or a dash and why it has none."""

import math
from collections.abc import Mapping

import pandas as pd

DASH = "-"


def number_or_dash(value: float, digits: int = 2) -> str:
    """A number, or a dash where it is undefined."""
    return DASH if math.isnan(value) else f"{value:.{digits}f}"


def recovery_words(row: Mapping[str, object]) -> str:
    """Recovery of a row of `recovery_table` with its 95 % interval, or the reason why one is lacking.

    >>> recovery_words({"recovery": 0.5, "low": 0.4, "high": 0.6, "reason": None})
    '0.50 (95 % 0.40 to 0.60)'
    >>> recovery_words({"recovery": float("nan"), "reason": "the expert 'a' is no better than the base"})
    "- (the expert 'a' is no better than the base)"
    """
    found = number_or_dash(float(str(row["recovery"])))
    if isinstance(row["reason"], str):
        return f"{found} ({row['reason']})"
    return f"{found} (95 % {row['low']:.2f} to {row['high']:.2f})"


def worst_and_mean_words(table: pd.DataFrame) -> str:
    """The worst and the mean recovery of a table; dashes, with the tasks, where one is undefined."""
    undefined = table.loc[table.recovery.isna(), "task"].tolist()
    worst = number_or_dash(float(table.recovery.min(skipna=False)))
    mean = number_or_dash(float(table.recovery.mean(skipna=False)))
    why = f" (undefined for {', '.join(map(str, undefined))})" if undefined else ""
    return f"worst recovery {worst}, mean {mean}{why}"


def undefined_notes(table: pd.DataFrame) -> list[str]:
    """For a run's record: of every task, why its recovery has no value or no interval."""
    return [
        f"recovery of {row['task']}: {row['reason']}"
        for row in table.to_dict("records")
        if isinstance(row["reason"], str)
    ]
