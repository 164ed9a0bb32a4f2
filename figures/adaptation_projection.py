"""How far the residual stream has gone over to the new context, block by block."""

import pandas as pd
import plotly.graph_objects as go

from figures.adaptation_curves import condition_colors
from figures.axes import block_axis
from figures.columns import count_phrase, distinct, require_columns
from figures.interval_bars import interval_bars
from figures.legend import add_bottom_legend
from figures.panel_grid import panel_grid
from figures.template import apply_template

COLUMNS = ("system", "condition", "tau", "layer", "position", "value", "low", "high", "n")


def plot_adaptation_projection(table: pd.DataFrame) -> go.Figure:
    """Beta by block, mean over tokens after the injection; a panel a system, colour the condition.

    Reads `system`, `condition`, `tau`, `layer`, `position`, `value` (beta: 0 the state under c0, 1 under
    c1), `low`, `high` (95 %, of one token) and `n` (items).
    """
    require_columns(table, COLUMNS)
    systems, conditions = distinct(table, "system"), distinct(table, "condition")
    colors = condition_colors(conditions)
    grid = panel_grid(systems, panel_height=220, gap=70)
    for place, system in zip(grid.places, systems, strict=True):
        for name in conditions:
            rows = table.loc[(table["system"] == system) & (table["condition"] == name)]
            if rows.empty:
                continue
            means = rows.groupby("layer")[["value", "low", "high"]].mean().reset_index()
            trace = go.Scatter(
                x=means["layer"],
                y=means["value"],
                error_y=interval_bars(means),
                mode="lines+markers",
                line={"color": colors[name], "width": 2},
                name=name,
                legendgroup=name,
                showlegend=place is grid.places[0],
            )
            grid.figure.add_trace(trace, **place)
    grid.figure.update_xaxes(**block_axis(distinct(table, "layer")))
    grid.figure.update_yaxes(title_text="beta")
    apply_template(
        grid.figure,
        title="States between both contexts",
        subtitle=f"beta: 0 as under c0, 1 as under c1 · {count_phrase(table, 'items')} a token",
    )
    return add_bottom_legend(grid.figure, plot_height=grid.height, top=112)
