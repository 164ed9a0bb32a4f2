"""Accuracy of host, donor and merges in each category of a benchmark."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import (
    category_counts,
    count_phrase,
    distinct,
    require_columns,
    require_one_row_per,
)
from figures.interval_bars import interval_bars
from figures.legend import add_bottom_legend
from figures.template import apply_template, system_colors

COLUMNS = ("system", "category", "accuracy_frac", "low", "high", "n")


def plot_accuracy_by_category(table: pd.DataFrame) -> go.Figure:
    """Grouped dots in percent with their intervals, one colour per system.

    Reads `system`, `category`, `accuracy_frac`, `low` and `high` (95 % Wilson interval; all three
    in [0, 1]) and `n` (questions). Systems and categories keep their order of appearance. A NaN
    accuracy has no dot.
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["system", "category"])
    outside = table.loc[(table["accuracy_frac"] < 0) | (table["accuracy_frac"] > 1)]
    if len(outside):
        value = float(outside["accuracy_frac"].iloc[0])
        raise ValueError(f"accuracy_frac={value:g} is outside 0..1; give a share, not percent")
    labels = _category_labels(table)
    figure = go.Figure()
    for system, color in system_colors(distinct(table, "system")).items():
        figure.add_trace(_dots(table.loc[table["system"] == system], labels, system, color))
    apply_template(
        figure,
        title="Accuracy by category",
        subtitle=f"{category_counts(table, 'questions')} · 95 % Wilson interval",
    )
    figure.update_xaxes(
        title_text="category",
        type="category",
        categoryorder="array",
        categoryarray=list(labels.values()),
        range=[-0.5, len(labels) - 0.5],
        tickson="boundaries",
    )
    figure.update_yaxes(title_text="accuracy (%)", range=[-2, 102], dtick=20)
    figure.update_layout(scattermode="group", scattergap=0.2)
    return add_bottom_legend(figure, plot_height=360, top=92, axis_height=86)


def _category_labels(table: pd.DataFrame) -> dict[str, str]:
    """Each category with its n below."""
    labels = {}
    for category in distinct(table, "category"):
        rows = table.loc[table["category"] == category]
        labels[category] = f"{category}<br>{count_phrase(rows)}"
    return labels


def _dots(rows: pd.DataFrame, labels: dict[str, str], system: str, color: str) -> go.Scatter:
    return go.Scatter(
        x=[labels[category] for category in rows["category"]],
        y=100 * rows["accuracy_frac"],
        error_y=interval_bars(rows, "accuracy_frac", scale=100) | {"thickness": 2},
        customdata=rows["n"],
        mode="markers",
        marker={"color": color, "size": 9},
        name=system,
        offsetgroup=system,
        hovertemplate="%{y:.1f} %<br>n = %{customdata:,}",
    )
