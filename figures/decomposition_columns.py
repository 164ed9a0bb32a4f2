"""Directions of features and of components in the plane of a two-dimensional toy model."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns
from figures.template import BLACK, VERMILLION, apply_template

COLUMNS = ("seed", "layer", "component", "feature", "norm", "x", "y")
SHOWN_NORM = 0.05  # shorter columns of components would only hide the origin


def plot_decomposition_columns(table: pd.DataFrame, layer: str = "linear1") -> go.Figure:
    """Columns of the target's matrix and of every live component's, all seeds in one plane.

    Reads `seed`, `layer`, `component` (-1: the target), `feature`, `norm`, `x` and `y`.
    """
    require_columns(table, COLUMNS)
    frame: Any = table
    rows = frame.loc[frame["layer"] == layer]
    if rows.empty:
        raise ValueError(f"layer={layer!r} is not in the table; it has {distinct(table, 'layer')}")
    target = rows.loc[rows["component"] == -1]
    ours = rows.loc[(rows["component"] != -1) & (rows["norm"] > SHOWN_NORM)]
    figure = go.Figure()
    for name, points, color, width in (
        ("column of the target", target, BLACK, 5),
        ("column of a component", ours, VERMILLION, 1.5),
    ):
        xs, ys = [], []
        for x, y in zip(points["x"], points["y"], strict=True):
            xs += [0, x, None]
            ys += [0, y, None]
        figure.add_scatter(
            x=xs, y=ys, mode="lines", line={"color": color, "width": width}, name=name
        )
    figure.update_xaxes(title_text="hidden dimension 0")
    figure.update_yaxes(title_text="hidden dimension 1", scaleanchor="x")
    apply_template(
        figure,
        title=f"Features and components in {layer}",
        subtitle=f"n = {ours['seed'].nunique()} seeds · live components, columns longer than "
        f"{SHOWN_NORM}",
    )
    return figure.update_layout(height=560)
