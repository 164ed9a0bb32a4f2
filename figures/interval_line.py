"""A line of means with their 95 % intervals."""

import pandas as pd
import plotly.graph_objects as go

from lm_merge.statistics.intervals import NORMAL_95


def interval_line(points: pd.DataFrame, x: str, *, name: str, line: dict, hover: str) -> go.Scatter:
    """Line of `value` over the column `x` with bars of ± 1.96 `standard_error`.

    Reads also `n`, for the hover text. NaN in `value` leaves a gap, NaN in `standard_error` only
    leaves out the bar. `hover` is the hover template above the line with n.
    """
    points = points.sort_values(x)
    half_width = NORMAL_95 * points["standard_error"].astype(float)
    return go.Scatter(
        x=points[x],
        y=points["value"],
        customdata=points["n"],
        error_y={"array": half_width.fillna(0.0), "width": 0, "thickness": 1.5},
        mode="lines+markers",
        line=line,
        marker={"size": 5},
        connectgaps=False,
        name=name,
        legendgroup=name,
        hovertemplate=hover + "<br>n = %{customdata:,}",
    )
