"""Curvature between host and donor over the blocks: K_g, distance, their product, head mismatch."""

from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from figures.axes import block_axis, log_axis
from figures.columns import count_phrase, distinct, require_columns, require_one_row_per
from figures.interval_bars import interval_bars
from figures.legend import add_bottom_legend, legend_names
from figures.panel_grid import panel_grid
from figures.template import BLUE, GREEN, VERMILLION, apply_template

COLUMNS = ("layer", "alpha", "metric", "statistic", "value", "low", "high", "n")
PANEL_HEIGHT, PANEL_GAP = 210, 92  # pixels


class _Panel(NamedTuple):
    metric: str
    title: str
    axis: str
    log: bool


PANELS = (
    _Panel("k_g", "K<sub>g</sub>", "nats / squared norm", True),
    _Panel("sq_distance", "Squared distance |d − h|²", "squared norm", True),
    _Panel("curvature_nats", "Curvature K<sub>g</sub> |d − h|²", "nats", True),
    _Panel("head_mismatch_nats", "Head mismatch", "nats", False),
)
STYLES = {"mean": (BLUE, "solid"), "median": (GREEN, "dash")}
CLOSED_FORM = "closed form, mean"


def plot_curvature_by_layer(table: pd.DataFrame) -> go.Figure:
    """One panel a quantity over the blocks: mean over tokens with its 95 % interval, and median.

    Reads `layer`, `alpha` (NaN in the rows drawn), `metric`, `statistic`, `value`, `low`, `high` and
    `n`. Axes are logarithmic, five decades at most, but for the head mismatch; smaller values and 0
    lie below. The closed form is a mark at the blocks that have one. A metric that the table lacks has
    no panel.
    """
    require_columns(table, COLUMNS)
    rows = table.loc[table["alpha"].isna() & table["value"].notna()]
    panels = [panel for panel in PANELS if panel.metric in set(rows["metric"])]
    if not panels:
        known = ", ".join(panel.metric for panel in PANELS)
        raise ValueError(f"no row without alpha is of a metric drawn here: {known}")
    require_one_row_per(rows, ["layer", "metric", "statistic"])
    figure, places, height = panel_grid(
        [panel.title for panel in panels], panel_height=PANEL_HEIGHT, gap=PANEL_GAP
    )
    for panel, where in zip(panels, places, strict=True):
        of_panel = rows.loc[rows["metric"] == panel.metric]
        for statistic in STYLES:
            points = of_panel.loc[of_panel["statistic"] == statistic].sort_values("layer")
            points = points.loc[points["value"] > 0] if panel.log else points
            if len(points):
                seen = statistic in legend_names(figure)
                trace = _line(points, statistic, log=panel.log)
                figure.add_trace(trace.update(showlegend=not seen), **where)
        extra = []
        if panel.metric == "k_g":
            closed = rows.loc[rows["metric"] == "k_g_closed_form"]
            closed = closed.loc[closed["statistic"] == "mean"]
            extra = list(closed["value"])
            if extra:
                figure.add_trace(_marks(closed), **where)
        shown = of_panel.loc[of_panel["statistic"].isin(list(STYLES))]
        values = [*shown["value"], *shown["low"], *shown["high"], *(extra if panel.log else ())]
        kind: dict[str, Any] = log_axis(values) if panel.log else {}
        figure.update_yaxes(title_text=panel.axis, **kind, **where)
        figure.update_xaxes(**block_axis(distinct(rows, "layer")), **where)
    apply_template(
        figure,
        title="Curvature of the loss between host and donor, by block",
        subtitle=f"{count_phrase(rows.loc[rows['metric'] == panels[0].metric], 'tokens')} · bars: 95 % "
        "interval of the mean, clustered by text<br>below the last block distances are joint over "
        "all tokens up to the one whose loss it is",
    )
    return add_bottom_legend(figure, plot_height=height, top=122)


def _line(points: pd.DataFrame, statistic: str, *, log: bool) -> go.Scatter:
    color, dash = STYLES[statistic]
    low = points["low"].clip(lower=points["value"] / 10 if log else None)
    return go.Scatter(
        x=points["layer"],
        y=points["value"],
        customdata=points["n"],
        error_y=interval_bars(points.assign(low=low)),
        mode="lines+markers",
        marker={"size": 5},
        line={"color": color, "dash": dash, "width": 2},
        name=statistic,
        legendgroup=statistic,
        hovertemplate="block %{x}<br>%{y:.4g}<br>n = %{customdata:,}",
    )


def _marks(closed: pd.DataFrame) -> go.Scatter:
    return go.Scatter(
        x=closed["layer"],
        y=closed["value"],
        mode="markers",
        marker={"size": 10, "color": VERMILLION, "symbol": "triangle-down"},
        name=CLOSED_FORM,
        hovertemplate="block %{x}<br>closed form %{y:.4g}",
    )
