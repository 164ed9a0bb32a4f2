"""A quantity over blocks, one line an operator, with a slider over alpha."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from figures.axes import block_axis, value_range
from figures.columns import count_phrase, distinct, require_columns, require_one_row_per
from figures.interval_line import interval_line
from figures.legend import add_bottom_legend
from figures.slider import slider
from figures.template import apply_template, operator_color, space_dash

COLUMNS = ("layer", "alpha", "operator", "space", "metric", "value", "low", "high", "n")
PLOT_HEIGHT, SLIDER_HEIGHT = 360, 90


def plot_layers_by_alpha(table: pd.DataFrame, metric: str, *, axis_title: str = "") -> go.Figure:
    """One metric over blocks, one line an operator and space; the slider sets alpha.

    Reads `layer`, `alpha`, `operator`, `space`, `metric`, `value`, `low` and `high` (95 %
    interval) and `n`; rows of other metrics are left alone. The axis is the same at all alphas.
    """
    require_columns(table, COLUMNS)
    rows = table.loc[table["metric"] == metric]
    if rows.empty:
        known = ", ".join(map(str, distinct(table, "metric")))
        raise ValueError(f"metric={metric!r} is not in the table; it has: {known}")
    require_one_row_per(rows, ["layer", "alpha", "operator", "space"])
    alphas = sorted(distinct(rows, "alpha"))
    figure = go.Figure(_lines(rows, alphas[0]))
    apply_template(
        figure,
        title=f"{metric.replace('_', ' ').capitalize()} by block",
        subtitle=f"{count_phrase(rows)} · bars: 95 % intervals · slider: alpha",
    )
    figure.update_xaxes(**block_axis(distinct(rows, "layer")))
    figure.update_yaxes(title_text=axis_title or metric, range=value_range(rows))
    add_bottom_legend(figure, plot_height=PLOT_HEIGHT, top=92, axis_height=66 + SLIDER_HEIGHT)
    steps = [(f"{alpha:g}", _values(_lines(rows, alpha))) for alpha in alphas]
    return figure.update_layout(sliders=[slider("alpha = ", steps)])


def _lines(rows: pd.DataFrame, alpha: float) -> list[go.Scatter]:
    """The lines at one alpha; each operator and space of the table has one, if need be of gaps."""
    kinds = cast(pd.DataFrame, rows[["operator", "space"]]).drop_duplicates()
    layers = pd.DataFrame({"layer": sorted(distinct(rows, "layer"))})
    lines = []
    for operator, space in kinds.itertuples(index=False):
        of_kind = (rows["operator"] == operator) & (rows["space"] == space)
        points = layers.merge(rows.loc[of_kind & np.isclose(rows["alpha"], alpha)], how="left")
        line = {"color": operator_color(operator), "dash": space_dash(space), "width": 2}
        hover = f"{operator}, {space}<br>block %{{x}}: %{{y:.4g}}"
        points["n"] = points["n"].fillna(0).astype(int)
        lines.append(
            interval_line(points, "layer", name=f"{operator} ({space})", line=line, hover=hover)
        )
    return lines


def _values(lines: Sequence[Any]) -> dict[str, list]:
    return {
        "y": [[_plain(value) for value in line.y] for line in lines],
        "error_y.array": [[_plain(value) for value in line.error_y.array] for line in lines],
        "customdata": [[int(n) for n in line.customdata] for line in lines],
    }


def _plain(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
