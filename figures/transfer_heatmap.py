"""Accuracy of every source on every target."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import count_phrase, distinct, require_columns, require_one_row_per
from figures.template import SEQUENTIAL_SCALE, apply_template

COLUMNS = ("source", "target", "accuracy_frac", "low", "high", "n")
ROW_HEIGHT = 22  # pixels


def plot_transfer_heatmap(table: pd.DataFrame) -> go.Figure:
    """One row a source, one column a target; colour = accuracy in percent, its interval on hover.

    Reads `source`, `target`, `accuracy_frac`, `low`, `high` (95 %) and `n` (texts).
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["source", "target"])
    sources, targets = distinct(table, "source"), distinct(table, "target")
    cells = {
        name: table.pivot(index="source", columns="target", values=name).loc[sources, targets]
        for name in ("accuracy_frac", "low", "high")
    }
    hover = [
        [[100 * low, 100 * high] for low, high in zip(lows, highs, strict=True)]
        for lows, highs in zip(cells["low"].to_numpy(), cells["high"].to_numpy(), strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            x=targets,
            y=sources,
            z=100 * cells["accuracy_frac"].to_numpy(),
            customdata=hover,
            colorscale=SEQUENTIAL_SCALE,
            colorbar={"title": {"text": "accuracy (%)", "side": "right"}, "thickness": 14},
            xgap=1,
            ygap=1,
            hovertemplate="%{y} on %{x}: %{z:.1f} %<br>%{customdata[0]:.1f} to %{customdata[1]:.1f}"
            "<extra></extra>",
        )
    )
    apply_template(
        figure,
        title="Every source on every target",
        subtitle=f"{count_phrase(table, 'texts')} a cell · 95 % intervals: on hover",
    )
    figure.update_xaxes(title_text="target", type="category", tickangle=-60, showgrid=False)
    figure.update_yaxes(title_text="source", type="category", autorange="reversed", showgrid=False)
    return figure.update_layout(height=190 + ROW_HEIGHT * len(sources))
