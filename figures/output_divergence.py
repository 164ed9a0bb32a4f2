"""How far the output of a merge lies from that of either parent, for several spaces."""

import pandas as pd
import plotly.graph_objects as go

from figures.axes import value_range
from figures.columns import (
    alpha_levels,
    alpha_words,
    count_phrase,
    distinct,
    require_columns,
    require_one_row_per,
)
from figures.interval_bars import interval_bars
from figures.legend import add_bottom_legend
from figures.template import apply_template, operator_color, space_dash

COLUMNS = ("alpha", "operator", "space", "metric", "value", "low", "high", "n")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross")


def plot_output_divergence(table: pd.DataFrame) -> go.Figure:
    """Jensen-Shannon divergence to the host against that to the donor; one line a space and operator.

    Reads `alpha` (donor's weight), `operator`, `space`, `metric` (js_host, js_donor), `value` (nats),
    `low` and `high` (95 %) and `n` (tokens). Points of one merge go from low to high alpha, each a
    marker shape of its own; colour is the operator, dash the space.
    """
    require_columns(table, COLUMNS)
    drawn = table.loc[table["metric"].isin(["js_host", "js_donor"])]
    require_columns(drawn, COLUMNS)  # that some rows are left
    require_one_row_per(drawn, ["metric", "space", "operator", "alpha"])
    figure = go.Figure()
    for space in distinct(drawn, "space"):
        for operator in distinct(drawn.loc[drawn["space"] == space], "operator"):
            chosen = (drawn["space"] == space) & (drawn["operator"] == operator)
            figure.add_trace(_line(drawn.loc[chosen], f"{space} {operator}", operator, space))
    markers = ", ".join(
        f"{MARKERS[place % len(MARKERS)]} {alpha_words(alpha).removeprefix('α = ')}"
        for place, alpha in enumerate(alpha_levels(drawn))
    )
    apply_template(
        figure,
        title="Outputs of merges between those of their parents",
        subtitle=f"{count_phrase(drawn, 'tokens')} · mean, 95 % interval by text<br>"
        f"α, weight of the donor: {markers}",
    )
    for axis, parent in (("x", "host"), ("y", "donor")):
        rows = drawn.loc[drawn["metric"] == f"js_{parent}"]
        title = f"Jensen-Shannon divergence from the {parent} (nats)"
        figure.update_layout({f"{axis}axis": {"title_text": title, "range": value_range(rows)}})
    return add_bottom_legend(figure, plot_height=380, top=112)


def _line(rows: pd.DataFrame, name: str, operator: str, space: str) -> go.Scatter:
    wide = rows.pivot(index="alpha", columns="metric").sort_index(na_position="first")
    values = wide["value"]
    bars = {
        axis: interval_bars(wide.xs(metric, axis=1, level="metric"))
        for axis, metric in (("x", "js_host"), ("y", "js_donor"))
    }
    color = operator_color(operator)
    symbols = [MARKERS[place % len(MARKERS)] for place in range(len(wide))]
    return go.Scatter(
        x=values["js_host"],
        y=values["js_donor"],
        error_x=bars["x"],
        error_y=bars["y"],
        customdata=wide.index,
        mode="lines+markers",
        line={"color": color, "dash": space_dash(space), "width": 2},
        marker={"symbol": symbols, "size": 9, "color": color},
        name=name,
        hovertemplate="α = %{customdata:g}<br>%{x:.4f} from the host<br>%{y:.4f} from the donor",
    )
