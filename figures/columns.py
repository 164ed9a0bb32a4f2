"""What a table must look like before it is drawn: its columns, and one row per point."""

import math
from collections.abc import Sequence
from typing import Any, cast

import pandas as pd


def require_columns(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise ValueError that names the missing columns, unless the table has them all and a row."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        present = ", ".join(map(str, table.columns)) or "none"
        raise ValueError(f"table lacks the column(s) {', '.join(missing)}; it has: {present}")
    if table.empty:
        raise ValueError("table has no rows; nothing to draw")


def require_one_row_per(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise ValueError that shows the first repeated key, unless `columns` identify every row."""
    repeated = table.loc[table.duplicated(list(columns)), list(columns)]
    if len(repeated):
        key = ", ".join(f"{column}={value!r}" for column, value in repeated.iloc[0].items())
        raise ValueError(
            f"table has more than one row for {key}; average or filter (for instance by seed) first"
        )


def distinct(table: pd.DataFrame, column: str) -> list[Any]:
    """The values of a column without repeats, in order of appearance."""
    return list(cast(pd.Series, table[column]).unique())


def alpha_levels(table: pd.DataFrame) -> list[float]:
    """The values of the column alpha in rising order; NaN, a merge without a single one, comes first."""
    given = cast(pd.Series, table["alpha"])
    return [math.nan] * bool(given.isna().any()) + sorted(given.dropna().unique())


def has_alpha(table: pd.DataFrame, alpha: float) -> pd.Series:
    """Which rows have this alpha; NaN is equal to NaN."""
    column = cast(pd.Series, table["alpha"])
    return column.isna() if math.isnan(alpha) else column == alpha


def alpha_words(alpha: float) -> str:
    """An alpha in a legend."""
    return "α by block" if math.isnan(alpha) else f"α = {alpha:g}"


def count_phrase(table: pd.DataFrame, unit: str = "") -> str:
    """Text such as 'n = 1,024 tokens', or 'n = 98–154 questions' where the column `n` varies."""
    counts = [int(count) for count in distinct(table, "n")]
    low, high = min(counts), max(counts)
    amount = f"{low:,}" if low == high else f"{low:,}–{high:,}"
    return f"n = {amount} {unit}".strip()


def category_counts(table: pd.DataFrame, unit: str) -> str:
    """'n = 50 questions per category', and of all together where "Overall" is among the categories."""
    overall = cast(pd.DataFrame, table.loc[table["category"] == "Overall"])
    single = cast(pd.DataFrame, table.loc[table["category"] != "Overall"])
    if overall.empty or single.empty:
        return f"{count_phrase(table, unit)} per category"
    together = count_phrase(overall).removeprefix("n = ")
    return f"{count_phrase(single, unit)} per category, {together} overall"
