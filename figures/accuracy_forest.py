"""Accuracy of many systems, category by category, as a forest plot."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from figures.columns import (
    category_counts,
    count_phrase,
    distinct,
    require_columns,
    require_one_row_per,
)
from figures.interval_bars import interval_bars
from figures.legend import add_bottom_legend
from figures.template import BLACK, GREY, apply_template, operator_color

COLUMNS = ("system", "category", "operator", "space", "accuracy_frac", "low", "high", "n")
SYMBOLS = {"": "circle", "latents": "diamond", "weights": "square", "logits": "triangle-up"}
MODEL = "one model"
ROW_HEIGHT = 27  # pixels


def plot_accuracy_forest(table: pd.DataFrame) -> go.Figure:
    """One row a system, one panel a category: accuracy in percent with its interval.

    Reads `system`, `category`, `operator` (its colour; empty for a model alone), `space` (the
    symbol), `accuracy_frac`, `low` and `high` (95 %; all in [0, 1]) and `n` (answers). The dotted
    line is the first system, the host in a comparison. A NaN accuracy has no mark.
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["system", "category"])
    systems, categories = distinct(table, "system"), distinct(table, "category")
    figure = make_subplots(
        cols=len(categories),
        shared_yaxes=True,
        horizontal_spacing=0.035,
        subplot_titles=[_panel_title(table, category) for category in categories],
    )
    figure.update_annotations(font_size=12)
    for column, category in enumerate(categories, start=1):
        rows = table.loc[table["category"] == category]
        for space in distinct(table, "space"):
            figure.add_trace(_dots(rows.loc[rows["space"] == space], space), row=1, col=column)
        first = rows.loc[rows["system"] == systems[0], "accuracy_frac"]
        if len(first) and first.notna().all():
            host = 100 * float(first.iloc[0])
            line = {"color": GREY, "width": 1, "dash": "dot"}
            xref, yref = f"x{column if column > 1 else ''}", "paper"
            figure.add_shape(
                type="line",
                x0=host,
                x1=host,
                y0=0,
                y1=1,
                xref=xref,
                yref=yref,
                line=line,
                layer="below",
            )
    for space in distinct(table, "space"):  # shapes only: colour is the operator's
        figure.add_trace(_legend_entry(space), row=1, col=1)
    figure.update_xaxes(range=[-4, 104], dtick=50, ticksuffix="")
    figure.update_xaxes(title_text="accuracy (%)", row=1, col=(len(categories) + 1) // 2)
    figure.update_yaxes(categoryorder="array", categoryarray=systems[::-1], type="category")
    counts = f"{category_counts(table, 'answers')} · bars: 95 % interval"
    apply_template(
        figure,
        title="Accuracy of every system",
        subtitle=f"{counts}<br>dotted: {systems[0]} · colour: operator",
    )
    return add_bottom_legend(figure, plot_height=ROW_HEIGHT * len(systems) + 12, top=136)


def _panel_title(table: pd.DataFrame, category: str) -> str:
    return f"<b>{category}</b><br>{count_phrase(table.loc[table['category'] == category])}"


def _legend_entry(space: str) -> go.Scatter:
    return go.Scatter(
        x=[None],
        y=[None],
        mode="markers",
        marker={"color": GREY, "size": 9, "symbol": SYMBOLS.get(space, "cross")},
        name=space or MODEL,
        legendgroup=space or MODEL,
        hoverinfo="skip",
    )


def _dots(rows: pd.DataFrame, space: str) -> go.Scatter:
    colors = [operator_color(name) if name else BLACK for name in rows["operator"]]
    return go.Scatter(
        y=rows["system"],
        x=100 * rows["accuracy_frac"],
        error_x=interval_bars(rows, "accuracy_frac", scale=100) | {"color": GREY},
        customdata=rows["n"],
        mode="markers",
        cliponaxis=False,  # marks at 0 and 100 stay whole in narrow panels
        marker={"color": colors, "size": 9, "symbol": SYMBOLS.get(space, "cross")},
        name=space or MODEL,
        legendgroup=space or MODEL,
        showlegend=False,
        hovertemplate="%{y}: %{x:.1f} %<br>n = %{customdata:,}<extra></extra>",
    )
