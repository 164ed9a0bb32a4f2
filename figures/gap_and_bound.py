"""The gap of each token's loss against the bound on it, on logarithmic axes."""

import pandas as pd
import plotly.graph_objects as go

from figures.axes import log_axis
from figures.columns import distinct, require_columns
from figures.legend import add_bottom_legend
from figures.template import GREY, apply_template, level_colors

COLUMNS = ("layer", "alpha", "gap_nats", "bound_nats")
PLOT_HEIGHT = 430
MOST_POINTS = 4000  # for a page that still opens; more are thinned evenly
LOWEST = 1e-4  # nats; less is float error


def plot_gap_and_bound(table: pd.DataFrame, alpha: float | None = None) -> go.Figure:
    """Gap over bound, one point a token; colour is the block; the dashed line is where they are equal.

    Reads `layer`, `alpha`, `gap_nats` and `bound_nats`, at one `alpha` (None: the middle one). The
    subtitle counts what is not shown: gaps that are not positive, where the merge loses no more than
    the line between its ends and which have no place on a logarithmic axis; what is below 1e-4 nats
    or five decades below the largest; and points thinned out.
    """
    require_columns(table, COLUMNS)
    alphas = sorted(distinct(table, "alpha"))
    alpha = alphas[len(alphas) // 2] if alpha is None else alpha
    rows = table.loc[table["alpha"] == alpha]
    if rows.empty:
        raise ValueError(f"alpha={alpha} is not in the table; it has {alphas}")
    positive = rows.loc[(rows["gap_nats"] > 0) & (rows["bound_nats"] > 0)]
    shown = positive.loc[(positive["gap_nats"] > LOWEST) & (positive["bound_nats"] > LOWEST)]
    axes = {column: log_axis(shown[column]) for column in ("bound_nats", "gap_nats")}
    if len(shown):
        ends = {column: 10 ** axis["range"][0] for column, axis in axes.items()}
        inside = [shown[column] >= end for column, end in ends.items()]
        shown = shown.loc[inside[0] & inside[1]]
    step = -(-len(shown) // MOST_POINTS) or 1
    figure = go.Figure()
    layers = sorted(distinct(rows, "layer"))
    colors = level_colors(layers)
    for layer in layers:
        points = shown.loc[shown["layer"] == layer].iloc[::step]
        figure.add_trace(
            go.Scatter(
                x=points["bound_nats"],
                y=points["gap_nats"],
                mode="markers",
                marker={"size": 5, "color": colors[layer], "opacity": 0.6},
                name=f"block {layer}",
                hovertemplate="bound %{x:.4g} nats<br>gap %{y:.4g} nats",
            )
        )
    if len(shown):
        values = shown[["gap_nats", "bound_nats"]].to_numpy()
        line = [float(values.min()), float(values.max())]
        style = {"color": GREY, "dash": "dash", "width": 1.5}
        figure.add_scatter(x=line, y=line, mode="lines", line=style, name="gap = bound")
    title = "bound ½ α(1−α) K<sub>g</sub> |d − h|² (nats)"
    figure.update_xaxes(title_text=title, **axes["bound_nats"])
    figure.update_yaxes(title_text="gap (nats)", **axes["gap_nats"])
    n_drawn = sum(len(shown.loc[shown["layer"] == layer].iloc[::step]) for layer in layers)
    reasons = {
        "without a positive gap and bound": len(rows) - len(positive),
        "too small for the axes": len(positive) - len(shown),
        "thinned out evenly": len(shown) - n_drawn,
    }
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
    apply_template(
        figure,
        title=f"What merging costs and what it could cost, α = {alpha:g}",
        subtitle=f"n = {len(rows):,} (token, block) pairs, {len(rows) - n_drawn:,} not shown"
        + (f": {counts}" if counts else "")
        + "<br>gap: loss of the merge above the line between both ends",
    )
    return add_bottom_legend(figure, plot_height=PLOT_HEIGHT, top=122)
