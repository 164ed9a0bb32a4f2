"""A line of means with their 95 % intervals."""

import pandas as pd
import plotly.graph_objects as go

from figures.interval_bars import interval_bars


def interval_line(points: pd.DataFrame, x: str, *, name: str, line: dict, hover: str) -> go.Scatter:
    """Line of `value` over the column `x` with bars from `low` to `high`.

    Reads also `n`, for the hover text. NaN in `value` leaves a gap, NaN in `low` or `high` only
    leaves out the bar. `hover` is the hover template above the line with n.
    """
    points = points.sort_values(x)
    return go.Scatter(
        x=points[x],
        y=points["value"],
        customdata=points["n"],
        error_y=interval_bars(points),
        mode="lines+markers",
        line=line,
        marker={"size": 5},
        connectgaps=False,
        name=name,
        legendgroup=name,
        hovertemplate=hover + "<br>n = %{customdata:,}",
    )
