"""Which block and which adapter carry recovery, one heat map a task."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from figures.columns import count_phrase, distinct, require_columns, require_one_row_per
from figures.template import apply_template

COLUMNS = ("task", "group", "source", "value", "n")
TOP, BOTTOM, ROW_HEIGHT = 118, 96, 40  # pixels
DIVERGING = "RdBu"


def plot_recovery_sensitivity(table: pd.DataFrame) -> go.Figure:
    """One heat map a task: x = block, y = adapter, colour = change of recovery by its coefficient.

    Reads `task`, `group` (block), `source` (adapter), `value` (recovery per unit of the coefficient in
    that block) and `n` (right replies). All maps share one scale, centred at 0; an undefined value
    leaves a gap.
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["task", "group", "source"])
    tasks, groups, sources = (distinct(table, name) for name in ("task", "group", "source"))
    figure = make_subplots(
        cols=len(tasks),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[f"<b>{task}</b>" for task in tasks],
    )
    figure.update_annotations(font_size=13)
    for place, task in enumerate(tasks, start=1):
        cells = table.loc[table["task"] == task].pivot(
            index="source", columns="group", values="value"
        )
        cells = cells.reindex(index=sources, columns=groups)
        figure.add_trace(
            go.Heatmap(
                x=[str(one).removeprefix("block ") for one in groups],
                y=sources,
                z=cells.to_numpy(),
                coloraxis="coloraxis",
                xgap=1,
                ygap=1,
                hovertemplate="block %{x}, %{y}: %{z:.3f}<extra></extra>",
            ),
            row=1,
            col=place,
        )
    apply_template(
        figure,
        title="Which block and which adapter carry recovery",
        subtitle=f"{count_phrase(table, 'right replies')} a task, dev<br>recovery of their "
        "log-likelihood per unit of a coefficient",
    )
    figure.update_xaxes(type="category", showgrid=False, showline=False)
    figure.update_xaxes(title_text="block (from 0)", col=(len(tasks) + 1) // 2)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, showline=False)
    return figure.update_layout(
        height=TOP + ROW_HEIGHT * len(sources) + BOTTOM,
        margin={"t": TOP, "b": BOTTOM},
        coloraxis={
            "colorscale": DIVERGING,
            "cmid": 0,
            "colorbar": {"title": {"text": "d recovery / d c", "side": "right"}, "thickness": 14},
        },
    )
