"""How a text goes over to a new context, token by token after the injection."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from figures.columns import distinct, require_columns
from figures.legend import add_bottom_legend
from figures.template import TEMPLATE, apply_template

COLUMNS = (
    "system",
    "condition",
    "tau",
    "item",
    "position",
    "diagnostic",
    "index",
    "log_ratio_nats",
)
PANELS = {
    "index": "adaptation index",
    "log_ratio_nats": "log ratio (nats)",
    "kl1_nats": "KL from c1 (nats)",
}


def condition_colors(conditions: list[str]) -> dict[str, str]:
    """A colour a condition, in the order given."""
    layout: Any = TEMPLATE.layout
    colors = layout.colorway
    return {name: colors[place % len(colors)] for place, name in enumerate(conditions)}


def plot_adaptation_curves(table: pd.DataFrame) -> go.Figure:
    """Mean of diagnostic tokens by token after the injection; a row a quantity, a column a system.

    Reads `system`, `condition`, `tau`, `item`, `position` (tokens from the injection), `diagnostic`,
    `index` (0 to 1), `log_ratio_nats` and `kl1_nats`. The band is the mean +- 1.96 standard errors over
    items; all taus together.
    """
    require_columns(table, (*COLUMNS, "kl1_nats"))
    systems, conditions = distinct(table, "system"), distinct(table, "condition")
    figure = make_subplots(
        rows=len(PANELS),
        cols=len(systems),
        shared_xaxes=True,
        shared_yaxes="rows",  # pyright: ignore[reportArgumentType] # plotly takes this
        horizontal_spacing=0.03,
        vertical_spacing=0.05,
        column_titles=systems,
    )
    figure.update_annotations(font_size=12)
    colors = condition_colors(conditions)
    for column, system in enumerate(systems, start=1):
        for row, quantity in enumerate(PANELS, start=1):
            for name in conditions:
                chosen = (table["system"] == system) & (table["condition"] == name)
                means = _means(table.loc[chosen & table["diagnostic"]], quantity)
                if means.empty:
                    continue
                drawn: Any = figure.data
                first = row == 1 and name not in {str(one.name) for one in drawn}
                for trace in _band(means, name, colors[name], legend=first):
                    figure.add_trace(trace, row=row, col=column)
    for row, (quantity, title) in enumerate(PANELS.items(), start=1):
        figure.update_yaxes(title_text=title, row=row, col=1)
        if quantity == "index":
            figure.update_yaxes(range=[-0.05, 1.05], row=row, col=1)
    figure.update_xaxes(title_text="tokens after the injection", row=len(PANELS))
    n = table["item"].nunique()
    apply_template(
        figure,
        title="Texts after a change of context",
        subtitle=f"n = {n} items · diagnostic tokens · band: mean ± 1.96 standard errors over items",
    )
    return add_bottom_legend(figure, plot_height=170 * len(PANELS), top=112)


def _means(rows: pd.DataFrame, quantity: str) -> pd.DataFrame:
    kept = rows.loc[np.isfinite(rows[quantity].astype(float))]
    by_item = kept.groupby(["position", "item"])[quantity].mean().reset_index()
    means = by_item.groupby("position")[quantity].agg(["mean", "std", "count"]).reset_index()
    half = 1.96 * means["std"].fillna(0.0) / np.sqrt(means["count"])
    return means.assign(low=means["mean"] - half, high=means["mean"] + half)


def _band(means: pd.DataFrame, name: str, color: str, *, legend: bool) -> list[go.Scatter]:
    around = [*means["position"], *means["position"][::-1]]
    ends = [*means["high"], *means["low"][::-1]]
    shown = {"legendgroup": name, "name": name}
    return [
        go.Scatter(
            x=around,
            y=ends,
            fill="toself",
            fillcolor=color,
            opacity=0.15,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            mode="lines",
            **shown,
        ),
        go.Scatter(
            x=means["position"],
            y=means["mean"],
            mode="lines+markers",
            line={"color": color, "width": 2},
            marker={"size": 5},
            showlegend=legend,
            **shown,
        ),
    ]
