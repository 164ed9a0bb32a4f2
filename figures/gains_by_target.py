"""Gain of every system over a reference, target by target."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns, require_one_row_per
from figures.template import GREY, LINE_SCALE, apply_template

COLUMNS = ("system", "target", "accuracy_frac")
ROW_HEIGHT = 30  # pixels


def plot_gains_by_target(table: pd.DataFrame, reference: str) -> go.Figure:
    """One row a system, one dot a target: accuracy less that of the reference, in points.

    Reads `system`, `target` and `accuracy_frac`. The bar is the mean over targets.
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["system", "target"])
    wide = table.pivot(index="target", columns="system", values="accuracy_frac")
    gains = 100 * wide.sub(wide[reference], axis=0).drop(columns=reference)
    systems = [str(one) for one in gains.mean().sort_values(ascending=False).index]
    figure = go.Figure()
    for system in systems:
        figure.add_trace(
            go.Scatter(
                x=gains[system],
                y=[system] * len(gains),
                customdata=gains.index,
                mode="markers",
                marker={"color": LINE_SCALE[1][1], "size": 7, "opacity": 0.55},
                showlegend=False,
                hovertemplate="%{customdata}: %{x:+.1f} points<extra></extra>",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=[float(gains[system].to_numpy(dtype=float).mean()) for system in systems],
            y=systems,
            mode="markers",
            marker={"symbol": "line-ns", "size": 16, "line": {"width": 3, "color": "#000000"}},
            showlegend=False,
            hovertemplate="mean %{x:+.2f} points<extra></extra>",
        )
    )
    figure.add_vline(x=0, line={"color": GREY, "width": 1, "dash": "dot"})
    apply_template(
        figure,
        title=f"Gain over {reference}",
        subtitle=f"dots: {len(distinct(table, 'target'))} targets · bar: their mean",
    )
    figure.update_xaxes(title_text="accuracy less the reference's (points)")
    figure.update_yaxes(categoryorder="array", categoryarray=systems[::-1], type="category")
    return figure.update_layout(height=170 + ROW_HEIGHT * len(systems))
