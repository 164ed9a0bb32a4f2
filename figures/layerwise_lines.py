"""A quantity over blocks, one panel an alpha, one line an operator, with intervals."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from figures.axes import block_axis
from figures.columns import count_phrase, distinct, require_columns, require_one_row_per
from figures.interval_bars import interval_bars
from figures.layer_metrics import grid_note, rows_of
from figures.legend import add_bottom_legend
from figures.template import apply_template, operator_color, space_dash

COLUMNS = ("layer", "alpha", "operator", "space", "metric", "value", "low", "high", "n")
HOVER = "%{y:.4f}, %{customdata[1]:.4f} to %{customdata[2]:.4f}<br>n = %{customdata[3]:,}"
PLOT_HEIGHT = 280
SHIFT = 0.012  # of the blocks' span between operators, so that equal values do not hide each other
BAR_GAP = 0.035  # of the blocks' span between the bars of merges of whole models


def plot_layerwise_lines(table: pd.DataFrame, metric: str) -> go.Figure:
    """One panel an alpha: x = merged block, y = value with its 95 % interval, a line an operator.

    Reads `layer`, `alpha`, `operator`, `space`, `metric`, `value`, `low` and `high` (NaN: no bar) and
    `n`; rows of other metrics are left alone. Panels share the value axis. Operators are set a little
    aside from each other. A merge of whole models, whose `layer` is missing, is a level line with its
    bar at the right. The colour is the operator, the dash the space.
    """
    require_columns(table, COLUMNS)
    rows, drawn_as = rows_of(table, metric)
    require_one_row_per(rows, ["layer", "alpha", "operator", "space"])
    alphas = sorted(distinct(rows, "alpha"))
    figure = make_subplots(
        rows=1,
        cols=len(alphas),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=[f"<b>α = {alpha:g}</b>" for alpha in alphas],
    )
    figure.update_annotations(font_size=13)
    kinds = [tuple(kind) for kind in rows[["operator", "space"]].drop_duplicates().to_numpy()]
    several = len(distinct(rows, "space")) > 1
    layers = [int(layer) for layer in distinct(rows.loc[rows["layer"].notna()], "layer")]
    if not layers:
        raise ValueError("table has no merge at a block (layer is missing everywhere)")
    span = max(1, max(layers) - min(layers))
    n_wholes, named = 0, set()
    for column, alpha in enumerate(alphas, start=1):
        n_wholes = 0
        for place, (operator, space) in enumerate(kinds):
            chosen = (rows["operator"] == operator) & (rows["space"] == space)
            points = rows.loc[chosen & (rows["alpha"] == alpha)].sort_values("layer")
            if points.empty:  # a merge that was measured at another alpha only
                continue
            if points["layer"].isna().all():
                n_wholes += 1
                end = max(layers) + BAR_GAP * span * n_wholes
                trace = _level(points, start=min(layers), end=end)
            else:
                trace = _line(points, shift=SHIFT * span * (place - (len(kinds) - 1) / 2))
            name = f"{operator} in {space}" if several else operator
            style = {"color": operator_color(operator), "dash": space_dash(space), "width": 2}
            trace.update(name=name, legendgroup=name, line=style, showlegend=name not in named)
            named.add(name)
            figure.add_trace(trace, row=1, col=column)
    level = "level: whole models, which have no block" if n_wholes else ""
    operators = [str(operator) for operator in distinct(rows, "operator")]
    note = " · ".join(filter(None, [level, grid_note(operators)]))
    apply_template(
        figure,
        title=f"{drawn_as.title} by merged block",
        subtitle=f"{count_phrase(rows, drawn_as.unit)} a point · bars: 95 % intervals"
        + (f"<br>{note}" if note else ""),
    )
    axis = block_axis(layers)
    if n_wholes:  # room for their bars, which stand at no block
        ticks = list(range(0, max(layers) + 1, axis["dtick"]))
        axis |= {"tickmode": "array", "tickvals": ticks}
        axis["range"][1] += BAR_GAP * span * n_wholes
    figure.update_xaxes(**axis)
    figure.update_xaxes(title_text="merged block (from 0)")
    figure.update_yaxes(title_text=drawn_as.axis, col=1)
    return add_bottom_legend(figure, plot_height=PLOT_HEIGHT, top=122)


def _line(points: pd.DataFrame, *, shift: float) -> go.Scatter:
    return go.Scatter(
        x=points["layer"].astype(float) + shift,
        y=points["value"],
        customdata=points[["layer", "low", "high", "n"]],
        error_y=interval_bars(points),
        mode="lines+markers",
        marker={"size": 5},
        connectgaps=False,
        hovertemplate="block %{customdata[0]}<br>" + HOVER,
    )


def _level(points: pd.DataFrame, *, start: float, end: float) -> go.Scatter:
    """A level line from the first block to a little beyond the last one, where its bar is drawn."""
    (point,) = points.to_dict("records")
    bars = interval_bars(points)
    bars |= {side: [0.0, *bars[side]] for side in ("array", "arrayminus")}
    return go.Scatter(
        x=[start, end],
        y=[point["value"]] * 2,
        customdata=[[None, point["low"], point["high"], point["n"]]] * 2,
        error_y=bars,
        mode="lines",
        hovertemplate="whole models<br>" + HOVER,
    )
