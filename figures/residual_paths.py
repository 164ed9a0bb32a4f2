"""The way of the mean residual stream through the blocks, in its principal plane."""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns, require_one_row_per
from figures.label_layout import LabelBox, spread_vertically
from figures.legend import add_bottom_legend
from figures.template import GREY, apply_template, system_colors

COLUMNS = ("stream", "layer", "pc1", "pc2", "explained_frac_1", "explained_frac_2")
# Labels are laid out for the narrowest plot area that a page gives; a wider one only adds room.
PLOT_WIDTH, PLOT_HEIGHT = 480, 420
LABEL_WIDTH, LABEL_HEIGHT, OFFSET = 58, 18, 12


def plot_residual_paths(table: pd.DataFrame) -> go.Figure:
    """One path per stream over depth; the first and the last block are labelled.

    Reads `stream` ("host", "donor", "merged 0.5", ...), `layer`, `pc1`, `pc2`,
    `explained_frac_1` and `explained_frac_2` (shares of variance in [0, 1], the same in all rows).
    An undefined point (NaN) leaves a gap.
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["stream", "layer"])
    colors = system_colors(distinct(table, "stream"))
    ranges = {axis: _padded(table, axis) for axis in ("pc1", "pc2")}
    figure, ends = go.Figure(), []
    for stream, color in colors.items():
        path = table.loc[table["stream"] == stream].sort_values("layer")
        figure.add_trace(_path(path, stream, color))
        ends += _ends(path.dropna(subset=["pc1", "pc2"]), color, ranges)
    _add_labels(figure, _join_coinciding(ends))
    apply_template(
        figure,
        title="Mean residual stream over depth",
        subtitle=f"principal plane of the means · blocks {table['layer'].min()} to "
        f"{table['layer'].max()} · one marker per block",
    )
    figure.update_xaxes(title_text=_axis_title(table, 1), range=ranges["pc1"])
    figure.update_yaxes(title_text=_axis_title(table, 2), range=ranges["pc2"])
    return add_bottom_legend(figure, plot_height=PLOT_HEIGHT, top=92)


def _axis_title(table: pd.DataFrame, component: int) -> str:
    share_pct = 100 * float(table[f"explained_frac_{component}"].iloc[0])
    return f"principal component {component} ({share_pct:.1f} % of variance)"


def _path(path: pd.DataFrame, stream: str, color: str) -> go.Scatter:
    return go.Scatter(
        x=path["pc1"],
        y=path["pc2"],
        customdata=path["layer"],
        mode="lines+markers",
        line={"color": color, "width": 2},
        marker={"size": 7, "line": {"color": "#FFFFFF", "width": 1}},
        name=stream,
        hovertemplate="block %{customdata}<br>(%{x:.3g}, %{y:.3g})",
    )


def _padded(table: pd.DataFrame, axis: str) -> list[float]:
    """Range with room for a label beyond the outermost point."""
    low, high = float(np.nanmin(table[axis])), float(np.nanmax(table[axis]))
    pad = 0.22 * (high - low) or 1.0
    return [low - pad, high + pad]


def _ends(path: pd.DataFrame, color: str, ranges: dict[str, list[float]]) -> list[dict]:
    """First and last point of a path in pixels, with the direction in which it points outward."""
    pixels = [
        (_pixel(x, ranges["pc1"], PLOT_WIDTH), _pixel(y, ranges["pc2"], PLOT_HEIGHT))
        for x, y in zip(path["pc1"], path["pc2"], strict=True)
    ]
    columns = (path["layer"], path["pc1"], path["pc2"])
    rows = [{"layer": b, "pc1": x, "pc2": y} for b, x, y in zip(*columns, strict=True)]
    if len(rows) < 2:
        return [
            row | {"color": color, "px": px, "out": (0, 1)}
            for row, px in zip(rows, pixels, strict=True)
        ]
    ends = []
    for end, neighbour in ((0, 1), (-1, -2)):
        step = [here - there for here, there in zip(pixels[end], pixels[neighbour], strict=True)]
        length = math.hypot(*step) or 1.0
        out = (step[0] / length, step[1] / length)
        ends.append(rows[end] | {"color": color, "px": pixels[end], "out": out})
    return ends


def _pixel(value: float, axis_range: list[float], length: float) -> float:
    return (value - axis_range[0]) / (axis_range[1] - axis_range[0]) * length


def _join_coinciding(ends: list[dict]) -> list[dict]:
    """One grey end for several of the same block that are nearly at the same place."""
    kept: list[dict] = []
    for end in ends:
        near = [
            other
            for other in kept
            if other["layer"] == end["layer"] and math.dist(other["px"], end["px"]) < 10
        ]
        if near:
            near[0]["color"] = GREY
        else:
            kept.append(dict(end))
    return kept


def _add_labels(figure: go.Figure, ends: list[dict]) -> None:
    """Label each end on the side away from its path, moved where two labels would overlap."""
    shifts = [
        (end["out"][0] * (OFFSET + LABEL_WIDTH / 2), end["out"][1] * (OFFSET + LABEL_HEIGHT / 2))
        for end in ends
    ]
    wishes = [
        LabelBox(end["px"][0] + x, end["px"][1] + y, LABEL_WIDTH, LABEL_HEIGHT)
        for end, (x, y) in zip(ends, shifts, strict=True)
    ]
    for end, wish, height in zip(ends, wishes, spread_vertically(wishes), strict=True):
        figure.add_annotation(
            x=end["pc1"],
            y=end["pc2"],
            text=f"block {end['layer']}",
            ax=wish.x - end["px"][0],
            ay=end["px"][1] - height,
            arrowhead=0,
            arrowwidth=1,
            arrowcolor=end["color"],
            standoff=4,
            font={"color": end["color"], "size": 12},
            borderpad=1,
        )
