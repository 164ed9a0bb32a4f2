"""Scores by skill of merges of updates, component by component and of whole weights."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import require_columns
from figures.template import apply_template

COLUMNS = ("method", "seed", "scale", "skill", "value", "n")
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "cross",
    "x",
    "triangle-up",
    "star",
    "hexagon",
    "pentagon",
)
TOP, BOTTOM, ROW_HEIGHT = 110, 96, 44  # pixels


def plot_component_merge(table: pd.DataFrame) -> go.Figure:
    """A row for each skill and a mark for each system, at its mean score over seeds.

    Reads `method`, `seed`, `scale` (empty for base and experts), `skill`, `value` (share of right
    replies, or of a feature that is explained) and `n` (questions or examples a skill).
    """
    require_columns(table, COLUMNS)
    grouped = table.groupby(["method", "skill"], sort=False)
    means = grouped.agg(value=("value", "mean"), seeds=("value", "size"), scale=("scale", "first"))
    figure = go.Figure()
    for symbol, method in zip(SYMBOLS * len(table), table["method"].unique(), strict=False):
        rows = means.loc[method]
        scale = rows["scale"].iloc[0]
        name = method if pd.isna(scale) else f"{method}, scale {scale:g}"
        figure.add_trace(
            go.Scatter(
                x=rows["value"],
                y=rows.index,
                name=name,
                mode="markers",
                marker={"symbol": symbol, "size": 10, "opacity": 0.8},
                customdata=rows["seeds"],
                hovertemplate=f"%{{y}}, {name}: %{{x:.3f}}, %{{customdata}} seeds<extra></extra>",
            )
        )
    counts = sorted(int(one) for one in table["n"])
    fewest, most = counts[0], counts[-1]
    n = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    apply_template(
        figure,
        title="Merges by components next to merges of whole weights",
        subtitle=f"n = {n} a skill, test · scales chosen on dev · mean over seeds",
    )
    figure.update_xaxes(title_text="score, share")
    figure.update_yaxes(autorange="reversed", type="category")
    height = TOP + ROW_HEIGHT * table["skill"].nunique() + BOTTOM
    return figure.update_layout(height=height, margin={"t": TOP, "b": BOTTOM})
