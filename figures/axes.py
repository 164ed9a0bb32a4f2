"""Axis settings that several figures need: blocks on whole numbers, ranges that do not magnify."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

MINIMUM_SPAN = 0.02  # a range below this would show rounding as if it were a finding


def block_axis(layers: Sequence[int]) -> dict:
    """Axis over blocks, counted from 0: ticks on whole blocks only, about ten of them."""
    first, last = int(min(layers)), int(max(layers))
    span = last - first
    steps = (1, 2, 4, 5, 10, 20)
    step = next((step for step in steps if span / step <= 10), 50)
    return {
        "title_text": "block (from 0)",
        "tickmode": "linear",
        "tick0": 0,
        "dtick": step,
        "range": [first - 0.3 - span / 60, last + 0.3 + span / 60],
    }


def log_axis(values: Iterable[float], decades: int = 5) -> dict:
    """Logarithmic axis over the positive values, from at most so many decades below the largest."""
    positive = [float(value) for value in values if value > 0]
    if not positive:
        return {"type": "log"}
    top = np.log10(max(positive))
    low = max(np.log10(min(positive)), top - decades)
    pad = 0.06 * (top - low) + 0.05
    step = 1 if top - low > 2 else "D2"  # D2: ticks at 2 and 5 as well
    shown = {"exponentformat": "power", "dtick": step, "range": [low - pad, top + pad]}
    return {"type": "log", **shown}


def value_range(rows: pd.DataFrame) -> list[float] | None:
    """Range around `value`, `low` and `high`, never narrower than MINIMUM_SPAN.

    None, plotly's own choice, where no value is finite.
    """
    values = np.asarray(rows["value"], dtype=float)
    if not np.isfinite(values).any():
        return None
    ends = rows[["value", "low", "high"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    pad = max(0.06 * (high - low), (MINIMUM_SPAN - (high - low)) / 2)
    return [low - pad, high + pad]
