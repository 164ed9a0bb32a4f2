"""How many importances are near 0, near 1 and between, one panel a layer."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns
from figures.panel_grid import panel_grid, without_legend
from figures.template import BLUE, apply_template

COLUMNS = ("seed", "layer", "importance")
N_BINS = 20
PANEL_HEIGHT, GAP, TOP, BOTTOM = 220, 90, 110, 60


def plot_importance_histogram(table: pd.DataFrame) -> go.Figure:
    """Counts of importances in 20 equal bins of [0, 1], all seeds together, log scale.

    Reads `seed`, `layer` and `importance`. In a finished decomposition nearly all lie in the outer bins.
    """
    require_columns(table, COLUMNS)
    frame: Any = table
    layers = distinct(table, "layer")
    grid = panel_grid([str(layer) for layer in layers], panel_height=PANEL_HEIGHT, gap=GAP)
    edges = np.linspace(0, 1, N_BINS + 1)
    for layer, place in zip(layers, grid.places, strict=True):
        values = frame.loc[frame["layer"] == layer, "importance"].to_numpy()
        counts, _ = np.histogram(values, edges)
        bars = go.Bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts,
            width=1 / N_BINS,
            marker={"color": BLUE},
            showlegend=False,
            hovertemplate="importance about %{x:.3f}: %{y}<extra></extra>",
        )
        grid.figure.add_trace(bars, **place)
        grid.figure.update_xaxes(title_text="importance", range=[0, 1], **place)
        grid.figure.update_yaxes(title_text="count", type="log", exponentformat="power", **place)
    n_seeds = len(distinct(table, "seed"))
    apply_template(
        grid.figure,
        title="Histogram of importances",
        subtitle=f"over components and single features at 0.75 · n = {n_seeds} seeds",
    )
    return without_legend(grid, top=TOP, bottom=BOTTOM)
