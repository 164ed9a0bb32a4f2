"""A search for a merge, trial by trial: the best score so far, and what each trial recovers."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns, require_one_row_per
from figures.template import BLACK, BLUE, GREY, apply_template

COLUMNS = ("trial", "score", "status", "warm")
TASK_COLUMNS = ("trial", "task", "recovery")


def plot_best_by_trial(table: pd.DataFrame) -> go.Figure:
    """The score of every trial, and the best so far as a line.

    Reads `trial` (in the order of proposals), `score`, `status` (failed ones have no mark) and `warm`
    (taken from an earlier search; not drawn, but the line starts from their best).
    """
    require_columns(table, COLUMNS)
    warm = table["warm"].to_numpy(dtype=bool)
    own = table.loc[~warm]
    require_one_row_per(own, ["trial"])
    done = own.loc[own["status"] != "failed"]
    start = pd.Series(table.loc[warm, "score"]).max() if warm.any() else float("-inf")
    best = done["score"].cummax().clip(lower=start)
    figure = go.Figure(
        [
            go.Scatter(
                x=done["trial"],
                y=done["score"],
                mode="markers",
                marker={"color": GREY, "size": 8},
                name="trial",
            ),
            go.Scatter(
                x=done["trial"],
                y=best,
                mode="lines",
                line={"color": BLUE, "shape": "hv", "width": 2.5},
                name="best so far",
            ),
        ]
    )
    n_failed = int((own["status"] == "failed").sum())
    apply_template(
        figure,
        title="Best score by trial",
        subtitle=f"n = {len(own)} trials, {n_failed} failed · {warm.sum()} known before",
    )
    figure.update_xaxes(title_text="trial (from 0)")
    return figure.update_yaxes(title_text="score of the recoveries")


def plot_recoveries_by_trial(table: pd.DataFrame) -> go.Figure:
    """Recovery of every task at every trial; the one with the least decides the worst-task score.

    Reads `trial`, `task` and `recovery` (0 the base, 1 the task's expert).
    """
    require_columns(table, TASK_COLUMNS)
    require_one_row_per(table, ["trial", "task"])
    figure = go.Figure()
    for task in distinct(table, "task"):
        rows = table.loc[table["task"] == task]
        figure.add_trace(
            go.Scatter(x=rows["trial"], y=rows["recovery"], mode="markers", name=str(task))
        )
    worst = pd.DataFrame(table.groupby("trial", sort=True)[["recovery"]].min())
    figure.add_trace(
        go.Scatter(
            x=worst.index,
            y=worst["recovery"],
            mode="lines",
            line={"color": BLACK, "width": 1.5},
            name="worst task",
        )
    )
    apply_template(
        figure,
        title="Recovery of every task by trial",
        subtitle=f"n = {table['trial'].nunique()} trials · 0: the base · 1: the task's expert",
    )
    figure.update_xaxes(title_text="trial (from 0)")
    return figure.update_yaxes(title_text="recovery")
