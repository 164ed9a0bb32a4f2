"""How far a merge travels from host to donor for the weight that the donor was given."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from figures.axes import value_range
from figures.columns import count_phrase, distinct, require_columns, require_one_row_per
from figures.interval_line import interval_line
from figures.legend import add_bottom_legend, legend_names
from figures.panel_grid import panel_grid
from figures.template import GREY, LINE_SCALE, apply_template, level_colors, space_dash

COLUMNS = ("layer", "alpha", "operator", "space", "metric", "value", "low", "high", "n")
MOST_LAYERS_IN_LEGEND = 8
PANEL_HEIGHT, PANEL_GAP = 340, 90  # pixels


def plot_arc_ratio_by_alpha(table: pd.DataFrame, layers: Sequence[int] | None = None) -> go.Figure:
    """Arc ratio against alpha, one line per block, one panel per operator.

    Reads `layer`, `alpha`, `operator`, `space`, `metric` (rows "arc_ratio" only), `value`,
    `low` and `high` (95 %) and `n`. `layers` limits the blocks (None: all). The dashed line is the
    identity, which slerp gives at a merged block. Colour is the block (a colour bar replaces the
    legend above eight blocks), dash is the space. Undefined values (NaN) leave gaps.
    """
    require_columns(table, COLUMNS)
    rows = table.loc[table["metric"] == "arc_ratio"]
    if rows.empty:
        raise ValueError("no row of the column metric is 'arc_ratio'")
    rows = rows if layers is None else _only_layers(rows, layers)
    require_one_row_per(rows, ["space", "operator", "layer", "alpha"])
    operators = distinct(rows, "operator")
    titles = operators if len(operators) > 1 else [""]
    figure, places, plot_height = panel_grid(titles, panel_height=PANEL_HEIGHT, gap=PANEL_GAP)
    for operator, where in zip(operators, places, strict=True):
        _draw_panel(figure, rows.loc[rows["operator"] == operator], rows, where)
    if len(blocks := distinct(rows, "layer")) > MOST_LAYERS_IN_LEGEND:
        figure.add_trace(_layer_scale(blocks), row=1, col=1)
    apply_template(
        figure,
        title=f"Arc ratio by alpha: {', '.join(operators)} in {', '.join(distinct(rows, 'space'))}",
        subtitle=f"{count_phrase(rows, 'tokens')} · mean, 95 % interval by text",
    )
    return add_bottom_legend(figure, plot_height=plot_height, top=106)


def _only_layers(rows: pd.DataFrame, layers: Sequence[int]) -> pd.DataFrame:
    absent = sorted(set(layers) - set(rows["layer"]))
    if absent:
        present = sorted(int(layer) for layer in rows["layer"].unique())
        raise ValueError(f"layers={absent} have no arc ratio in the table; it has {present}")
    return rows.loc[rows["layer"].isin(list(layers))]


def _draw_panel(figure: go.Figure, points: pd.DataFrame, table: pd.DataFrame, where: dict) -> None:
    seen = legend_names(figure)
    figure.add_trace(_identity(showlegend=not seen), **where)
    in_legend = len(distinct(table, "layer")) <= MOST_LAYERS_IN_LEGEND
    colors = level_colors(distinct(table, "layer"), by_rank=in_legend)
    several_spaces = len(distinct(table, "space")) > 1
    hover = "α = %{x:g}<br>arc ratio %{y:.4f}"
    for layer, space in sorted(set(zip(points["layer"], points["space"], strict=True))):
        line = points.loc[(points["layer"] == layer) & (points["space"] == space)]
        name = f"block {layer}" + f", {space}" * several_spaces
        style = {"color": colors[layer], "dash": space_dash(space), "width": 2}
        trace = interval_line(line, "alpha", name=name, line=style, hover=hover)
        figure.add_trace(trace.update(showlegend=in_legend and name not in seen), **where)
    low, high = value_range(points) or (0.0, 1.0)
    figure.update_xaxes(title_text="α, weight of the donor (0 to 1)", range=[-0.04, 1.04], **where)
    figure.update_yaxes(
        title_text="arc ratio (0 = host, 1 = donor)",
        range=[min(low, -0.04), max(high, 1.04)],
        **where,
    )


def _identity(*, showlegend: bool) -> go.Scatter:
    return go.Scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": GREY, "dash": "dash", "width": 1.5},
        name="arc ratio = α (slerp)",
        legendgroup="identity",
        showlegend=showlegend,
        hoverinfo="skip",
    )


def _layer_scale(layers: Sequence[int]) -> go.Scatter:
    """An invisible trace that carries the colour bar of the blocks."""
    title = {"text": "block", "font": {"size": 13}}
    bar = {"title": title, "thickness": 12, "outlinewidth": 0, "tickformat": "d"}
    return go.Scatter(
        x=[None, None],
        y=[None, None],
        mode="markers",
        marker={"color": [min(layers), max(layers)], "colorscale": LINE_SCALE, "colorbar": bar},
        showlegend=False,
        hoverinfo="skip",
        name="block scale",
    )
