"""Latency and gap of every system and condition, with intervals."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from figures.adaptation_curves import condition_colors
from figures.columns import count_phrase, distinct, require_columns, require_one_row_per
from figures.interval_bars import interval_bars
from figures.legend import add_bottom_legend
from figures.template import apply_template

COLUMNS = (
    *("system", "condition", "tau", "n", "adapted_frac", "adapted_low", "adapted_high"),
    *("restricted_mean_latency_tokens", "latency_low", "latency_high", "gap"),
)
PANELS = {  # column -> its interval, title
    "adapted_frac": (("adapted_low", "adapted_high"), "adapted (share)"),
    "restricted_mean_latency_tokens": (("latency_low", "latency_high"), "latency (tokens)"),
    "gap": (None, "gap (0: oracle, 1: ignored)"),
}


def plot_adaptation_forest(table: pd.DataFrame) -> go.Figure:
    """A row a system and tau; colour is the condition.

    Reads `system`, `condition`, `tau`, `n` (items), `adapted_frac` and `restricted_mean_latency_tokens`
    with their 95 % intervals, and `gap`.
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["system", "condition", "tau"])
    conditions = distinct(table, "condition")
    colors = condition_colors(conditions)
    rows = table["system"].astype(str)
    if len(distinct(table, "tau")) > 1:
        rows = rows + ", tau " + table["tau"].astype(str)
    figure = make_subplots(cols=len(PANELS), shared_yaxes=True, horizontal_spacing=0.04)
    for column, (quantity, (ends, title)) in enumerate(PANELS.items(), start=1):
        for name in conditions:
            of_name = table["condition"] == name
            shown = table.loc[of_name].assign(value=table[quantity])
            if ends is not None:
                shown = shown.assign(low=shown[ends[0]], high=shown[ends[1]])
            trace = go.Scatter(
                x=shown["value"],
                y=rows.loc[of_name],
                error_x=None if ends is None else interval_bars(shown),
                mode="markers",
                marker={"color": colors[name], "size": 9},
                name=name,
                legendgroup=name,
                showlegend=column == 1,
            )
            figure.add_trace(trace, row=1, col=column)
        figure.update_xaxes(title_text=title, row=1, col=column)
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=list(rows)[::-1])
    apply_template(
        figure,
        title="Adaptation by system and condition",
        subtitle=f"{count_phrase(table, 'items')} · bars: 95 % interval",
    )
    return add_bottom_legend(figure, plot_height=120 + 34 * len(set(rows)), top=92)
