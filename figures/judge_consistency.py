"""What a judge does when the responses change places: consistency and order gap by category."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from figures.columns import count_phrase, distinct, require_columns, require_one_row_per
from figures.interval_bars import interval_bars
from figures.legend import add_bottom_legend
from figures.template import GREY, apply_template, system_colors

COLUMNS = ("judge", "pairs", "category", "metric", "value", "low", "high", "n")
_PANELS = (
    ("consistency", "same verdict in<br>both orders (%)", [-3, 103], 25),
    ("order_gap", "order gap (%)", [-105, 105], 50),
)


def plot_judge_consistency(table: pd.DataFrame) -> go.Figure:
    """Two panels over the categories, one colour per judge: consistency, and order gap.

    Reads the rows of all pairs (`pairs` is "official") with `metric` consistency, in [0, 1], or
    order_gap, in [-1, 1]: what being shown first is worth, 0 for a judge that ignores order. `low`
    and `high` are 95 % intervals by question, `n` the pairs that define the value. A NaN
    value has no dot.
    """
    require_columns(table, COLUMNS)
    rows = table.loc[table["pairs"] == "official"]
    rows = rows.loc[rows["metric"].isin([panel[0] for panel in _PANELS])]
    require_columns(rows, COLUMNS)
    require_one_row_per(rows, ["judge", "category", "metric"])
    categories = distinct(rows, "category")
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.07)
    for judge, color in system_colors(distinct(rows, "judge")).items():
        for place, (metric, *_) in enumerate(_PANELS, start=1):
            own = rows.loc[(rows["judge"] == judge) & (rows["metric"] == metric)]
            figure.add_trace(_dots(own, judge, color, place == 1), row=place, col=1)
    counts = rows.loc[rows["metric"] == "order_gap"]
    apply_template(
        figure,
        title="What a judge does when the responses change places",
        subtitle=f"{count_phrase(counts, 'pairs')} per category · 95 % interval by question"
        "<br>order gap: above 0 the response shown first is favoured",
    )
    for place, (_, title, limits, step) in enumerate(_PANELS, start=1):
        figure.update_yaxes(title_text=title, range=limits, dtick=step, row=place, col=1)
    figure.add_hline(y=0, line={"color": GREY, "width": 1, "dash": "dot"}, row=2, col=1)  # pyright: ignore[reportArgumentType] # plotly's own annotation is too narrow
    figure.update_xaxes(
        type="category",
        categoryorder="array",
        categoryarray=categories,
        range=[-0.5, len(categories) - 0.5],
        tickson="boundaries",
    )
    figure.update_xaxes(title_text="category", row=2, col=1)
    figure.update_layout(scattermode="group", scattergap=0.2)
    return add_bottom_legend(figure, plot_height=440, top=112)


def _dots(rows: pd.DataFrame, judge: str, color: str, in_legend: bool) -> go.Scatter:
    return go.Scatter(
        x=rows["category"],
        y=100 * rows["value"],
        error_y=interval_bars(rows, scale=100) | {"thickness": 2},
        customdata=rows["n"],
        mode="markers",
        marker={"color": color, "size": 9},
        name=judge,
        legendgroup=judge,
        showlegend=in_legend,
        offsetgroup=judge,
        hovertemplate="%{y:.1f} %<br>n = %{customdata:,} pairs",
    )
