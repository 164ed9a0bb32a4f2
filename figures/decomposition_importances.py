"""Importance of each component on each feature alone, one panel a layer."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns
from figures.panel_grid import panel_grid
from figures.template import SEQUENTIAL_SCALE, apply_template

COLUMNS = ("seed", "layer", "feature", "place", "importance")
PANEL_HEIGHT, GAP, TOP, BOTTOM = 280, 90, 110, 70


def plot_decomposition_importances(table: pd.DataFrame, seed: int | None = None) -> go.Figure:
    """Heatmaps of importance, features by components; a diagonal is one component for each feature.

    Reads `seed`, `layer`, `feature`, `place` and `importance`, at one `seed` (None: the first).
    Components are in the order of `place`, which puts the largest importances on the diagonal.
    """
    require_columns(table, COLUMNS)
    frame: Any = table
    seeds = distinct(table, "seed")
    seed = seeds[0] if seed is None else seed
    rows = frame.loc[frame["seed"] == seed]
    if rows.empty:
        raise ValueError(f"seed={seed} is not in the table; it has {seeds}")
    layers = list(dict.fromkeys(rows["layer"]))
    grid = panel_grid([str(layer) for layer in layers], panel_height=PANEL_HEIGHT, gap=GAP)
    for layer, place in zip(layers, grid.places, strict=True):
        values = rows.loc[rows["layer"] == layer].pivot(
            index="feature", columns="place", values="importance"
        )
        heatmap = go.Heatmap(
            z=values.to_numpy(),
            coloraxis="coloraxis",
            hovertemplate="feature %{y}, component %{x}: importance %{z:.3f}<extra></extra>",
        )
        grid.figure.add_trace(heatmap, **place)
        grid.figure.update_xaxes(title_text="component, ordered", **place)
        grid.figure.update_yaxes(title_text="feature", autorange="reversed", **place)
    apply_template(
        grid.figure,
        title="Importance of components on single features",
        subtitle=f"one feature on at 0.75 · seed {seed} of {len(seeds)} · a diagonal: one component a "
        "feature",
    )
    grid.figure.update_layout(
        height=TOP + grid.height + BOTTOM,
        margin={"t": TOP, "b": BOTTOM},
        coloraxis={
            "cmin": 0, "cmax": 1, "colorscale": SEQUENTIAL_SCALE, "colorbar": {"title": "importance"},
        },
    )  # fmt: skip
    return grid.figure
