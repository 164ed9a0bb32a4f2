"""Metrics of a decomposition by training step, one line a seed."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns
from figures.panel_grid import panel_grid, without_legend
from figures.template import BLUE, apply_template

COLUMNS = ("seed", "step", "metric", "value")
SHOWN = (
    "reconstruction_stochastic",
    "reconstruction_ci",
    "reconstruction_adversarial",
    "ci_l0",
    "mmcs",
    "ml2r",
    "n_live",
    "pattern_error_01",
)
LOG = ("reconstruction", "loss", "faithfulness")
PANEL_HEIGHT, GAP, TOP, BOTTOM = 200, 80, 110, 60


def plot_decomposition_metrics(
    table: pd.DataFrame, metrics: Sequence[str] | None = None
) -> go.Figure:
    """Small panels of metrics by step; reads `seed`, `step`, `metric` and `value`.

    metrics: names to draw; None: reconstruction by kind of mask, sparsity and ground truth.
    """
    require_columns(table, COLUMNS)
    frame: Any = table
    known = distinct(table, "metric")
    wanted = [name for name in SHOWN if name in known] if metrics is None else list(metrics)
    missing = sorted(set(wanted) - set(known))
    if missing or not wanted:
        raise ValueError(f"metrics {missing} are not in the table; it has {', '.join(known)}")
    titles = [name.replace("_", " ") for name in wanted]
    grid = panel_grid(titles, panel_height=PANEL_HEIGHT, gap=GAP)
    seeds = distinct(table, "seed")
    for metric, place in zip(wanted, grid.places, strict=True):
        for seed in seeds:
            rows = frame.loc[(frame["metric"] == metric) & (frame["seed"] == seed)]
            line = go.Scatter(
                x=rows["step"],
                y=rows["value"],
                mode="lines",
                opacity=0.6,
                line={"color": BLUE, "width": 1.2},
                showlegend=False,
                hovertemplate=f"seed {seed}, step %{{x}}: %{{y:.4g}}<extra></extra>",
            )
            grid.figure.add_trace(line, **place)
        kind = "log" if metric.startswith(LOG) else "linear"
        grid.figure.update_yaxes(type=kind, exponentformat="power", **place)
        grid.figure.update_xaxes(title_text="step", **place)
    apply_template(
        grid.figure,
        title="Training of the decomposition",
        subtitle=f"one line a seed, n = {len(seeds)} · reconstruction in squared error, or nats a token",
    )
    return without_legend(grid, top=TOP, bottom=BOTTOM)
