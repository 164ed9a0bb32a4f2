"""Measures of a decomposition next to their published values, one panel a measure."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns
from figures.panel_grid import panel_grid, without_legend
from figures.template import BLUE, apply_template

COLUMNS = (
    "experiment",
    "metric",
    "published_mean",
    "published_sd",
    "mean",
    "sd",
    "n_seeds",
    "n_not_solved",
)
PUBLISHED = "#D55E00"
PANEL_HEIGHT, GAP, TOP, BOTTOM = 220, 90, 110, 60


def plot_decomposition_published(table: pd.DataFrame) -> go.Figure:
    """Points of mean and standard deviation over seeds, and published ones, by experiment.

    Reads `experiment`, `metric`, both means and standard deviations, `n_seeds` and `n_not_solved`. Rows
    without a published value are left out; ValueError if none is left.
    """
    require_columns(table, COLUMNS)
    frame: Any = table
    frame = frame.loc[frame["published_mean"].notna()]
    if frame.empty:
        raise ValueError("the table has no published value; nothing to compare with")
    metrics = distinct(frame, "metric")
    grid = panel_grid([str(metric) for metric in metrics], panel_height=PANEL_HEIGHT, gap=GAP)
    for metric, place in zip(metrics, grid.places, strict=True):
        rows = frame.loc[frame["metric"] == metric]
        for prefix, name, color in (("", "ours", BLUE), ("published_", "published", PUBLISHED)):
            points = go.Scatter(
                x=[f"{experiment}, {name}" for experiment in rows["experiment"]],
                y=rows[f"{prefix}mean"],
                error_y={"type": "data", "array": rows[f"{prefix}sd"].fillna(0.0)},
                mode="markers",
                marker={"color": color, "size": 8},
                showlegend=False,
                name=name,
            )
            grid.figure.add_trace(points, **place)
    seeds = frame.drop_duplicates("experiment")
    counts = [
        f"{name}: n = {int(n)} seeds" + ("" if pd.isna(failed) else f", {int(failed)} not solved")
        for name, n, failed in zip(
            seeds["experiment"], seeds["n_seeds"], seeds["n_not_solved"], strict=True
        )
    ]
    apply_template(
        grid.figure,
        title="Decomposition and published values",
        subtitle=f"mean ± standard deviation over seeds, failed ones included · {'; '.join(counts)}",
    )
    return without_legend(grid, top=TOP, bottom=BOTTOM)
