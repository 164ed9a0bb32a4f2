"""How often judges give the same verdict, each with each."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from figures.columns import count_phrase, distinct, require_columns, require_one_row_per
from figures.template import SEQUENTIAL_SCALE, apply_template

COLUMNS = ("judge", "other", "value", "low", "high", "n", "kappa")
_LONGEST_NAME = 30
_DARK_FROM = 0.6  # of the scale: white letters from here on
_CELL, _NAMES = 84, 230  # pixels: a cell, room for names at the left and below


def plot_judge_agreement(table: pd.DataFrame) -> go.Figure:
    """Matrix of the share of games with the same verdict, in percent, with Cohen's kappa below it.

    Reads one row for each ordered pair of judges: `value` in [0, 1] with its 95 % interval `low`,
    `high`, `n` games in which both gave a verdict, and `kappa`. The answer key may be among them.
    Judges keep their order of appearance. An undefined share leaves its cell empty.
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["judge", "other"])
    names = distinct(table, "judge")
    cells = table.set_index(["judge", "other"]).reindex(
        pd.MultiIndex.from_product([names, names], names=["judge", "other"])
    )
    rows = {column: cells[column].unstack().loc[names, names] for column in COLUMNS[2:]}
    figure = go.Figure(
        go.Heatmap(
            z=100 * rows["value"],
            x=list(range(len(names))),
            y=list(range(len(names))),
            zmin=0,
            zmax=100,
            colorscale=SEQUENTIAL_SCALE,
            colorbar={"title": {"text": "same verdict (%)", "side": "right"}, "thickness": 14},
            customdata=[[_hover(rows, one, other) for other in names] for one in names],
            hovertemplate="%{customdata}<extra></extra>",
            xgap=2,
            ygap=2,
            hoverongaps=False,
        )
    )
    for row, one in enumerate(names):
        for column, other in enumerate(names):
            color = "#FFFFFF" if rows["value"].at[one, other] > _DARK_FROM else "#000000"
            figure.add_annotation(
                x=column,
                y=row,
                text=_label(rows, one, other),
                showarrow=False,
                font={"color": color, "size": 13},
            )
    apply_template(
        figure,
        title="How often judges agree",
        subtitle="share of games with the same verdict, where both gave one; Cohen's κ below it"
        f"<br>{count_phrase(table, 'games')} · 95 % intervals in the table: ± "
        f"{_widest(table):.1f} points at most",
    )
    marks = {"tickvals": list(range(len(names))), "ticktext": [_short(name) for name in names]}
    figure.update_xaxes(title_text="judge", tickangle=-35, showgrid=False, ticks="", **marks)
    figure.update_yaxes(title_text="judge", autorange="reversed", showgrid=False, ticks="", **marks)
    size = _CELL * len(names)
    return figure.update_layout(
        width=max(640, size + _NAMES + 130), height=size + 112 + 150, margin={"t": 112}
    )


def _short(name: str) -> str:
    """Both ends of a long name: merges of the same models differ at its end."""
    if len(name) <= _LONGEST_NAME:
        return name
    half = (_LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _label(rows: dict[str, pd.DataFrame], one: str, other: str) -> str:
    value, kappa = rows["value"].at[one, other], rows["kappa"].at[one, other]
    if pd.isna(value):
        return ""
    return f"{100 * value:.0f}" + ("" if pd.isna(kappa) else f"<br>κ {kappa:.2f}")


def _hover(rows: dict[str, pd.DataFrame], one: str, other: str) -> str:
    value, low, high, n = (rows[column].at[one, other] for column in ("value", "low", "high", "n"))
    interval = f"{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{one}<br>{other}<br>{interval}<br>n = {n:,.0f} games"


def _widest(table: pd.DataFrame) -> float:
    widths = np.asarray(table["high"], dtype=float) - np.asarray(table["low"], dtype=float)
    return 50 * float(np.nanmax(widths))
