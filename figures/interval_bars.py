"""Bars from the low to the high end of an interval around a value."""

from typing import Any

import pandas as pd


def interval_bars(points: pd.DataFrame, value: str = "value", *, scale: float = 1.0) -> dict:
    """Plotly's error bars from `low` to `high` around the column `value`, all times `scale`.

    A NaN end leaves its side out. Thickness and colour are the caller's to change.
    """
    sides: dict[str, Any] = {
        "array": points["high"] - points[value],
        "arrayminus": points[value] - points["low"],
    }
    lengths = {
        side: (scale * one.astype(float).fillna(0.0)).tolist() for side, one in sides.items()
    }
    return {"type": "data", "symmetric": False, **lengths, "width": 0, "thickness": 1.5}
