"""What a merge of adapters recovers of each task's gain, with intervals."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import count_phrase, require_columns, require_one_row_per
from figures.interval_bars import interval_bars
from figures.template import BLUE, GREY, apply_template

COLUMNS = ("task", "metric", "base", "expert", "merged", "recovery", "n", "low", "high", "split")
TOP, BOTTOM, ROW_HEIGHT = 110, 64, 44  # pixels


def plot_recovery_by_task(table: pd.DataFrame) -> go.Figure:
    """One row a task: recovery with its 95 % interval; 0 is the base, 1 the expert.

    Reads `task`, `metric`, `base`, `expert`, `merged` (scores, shown on hover), `recovery`, `low`,
    `high`, `n` (examples) and `split`. A task whose recovery is undefined has no mark.
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["task"])
    scores = table[["metric", "base", "expert", "merged", "n"]].to_numpy().tolist()
    figure = go.Figure(
        go.Scatter(
            x=table["recovery"],
            y=table["task"],
            error_x=interval_bars(table, "recovery") | {"color": GREY},
            mode="markers",
            marker={"color": BLUE, "size": 10},
            customdata=scores,
            showlegend=False,
            hovertemplate="%{y}: recovery %{x:.3f}<br>%{customdata[0]}: base %{customdata[1]:.3f}, "
            "expert %{customdata[2]:.3f}, merged %{customdata[3]:.3f}<br>n = %{customdata[4]:,}"
            "<extra></extra>",
        )
    )
    for place, dash in ((0, "solid"), (1, "dot")):
        figure.add_vline(x=place, line={"color": GREY, "width": 1, "dash": dash}, layer="below")
    splits = ", ".join(map(str, table["split"].unique()))
    apply_template(
        figure,
        title="Recovery of each task",
        subtitle=f"{count_phrase(table, 'examples')} a task, {splits} · bars: 95 % interval<br>"
        "solid: the base (0) · dotted: the task's expert (1)",
    )
    figure.update_xaxes(title_text="recovery, share of the expert's gain")
    figure.update_yaxes(autorange="reversed", type="category")
    height = TOP + ROW_HEIGHT * len(table) + BOTTOM
    return figure.update_layout(height=height, margin={"t": TOP, "b": BOTTOM})
