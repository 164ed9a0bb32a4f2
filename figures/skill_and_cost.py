"""How much of a donor's skill merges take over, against how far they lie from the host."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import count_phrase, require_columns
from figures.legend import add_bottom_legend
from figures.template import GREY, apply_template, operator_color, space_dash

COLUMNS = (
    *("space", "operator", "layer", "alpha"),
    *("recovery", "recovery_low", "recovery_high", "recovery_n"),
    *("kl_host", "kl_host_low", "kl_host_high", "kl_host_n"),
)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross", "hexagon")
PLOT_HEIGHT = 460


def plot_skill_and_cost(table: pd.DataFrame) -> go.Figure:
    """x = divergence from the host (nats a token), y = recovery, one point a merge, with intervals.

    Reads a row a merge: `space`, `operator`, `layer` and `alpha` (missing: no single one), and
    `recovery` and `kl_host` with `_low`, `_high` (NaN: no bar) and `_n`. One line a space, operator
    and block, through its alphas in rising order; points are labelled by block and alpha. The colour
    is the operator, the dash the space, the symbol the block. Up and to the left is better.
    """
    require_columns(table, COLUMNS)
    figure = go.Figure()
    blocks = sorted({int(one) for one in table["layer"].dropna()})
    symbols = {block: SYMBOLS[rank % len(SYMBOLS)] for rank, block in enumerate(blocks)}
    kinds = ["space", "operator", "layer"]
    for key, points in table.groupby(kinds, dropna=False, sort=False):
        space, operator, layer = key  # pyright: ignore[reportGeneralTypeIssues] # a key of three columns
        block = None if pd.isna(layer) else int(layer)
        points = points.sort_values("alpha")
        name = f"{space} {operator}" + ("" if block is None else f", block {block}")
        color = operator_color(str(operator))
        figure.add_scatter(
            x=points["kl_host"],
            y=points["recovery"],
            error_x=_bars(points, "kl_host"),
            error_y=_bars(points, "recovery"),
            mode="lines+markers+text",
            text=[_label(block, alpha) for alpha in points["alpha"]],
            textposition="top left",
            textfont={"size": 10, "color": color},
            line={"color": color, "dash": space_dash(str(space)), "width": 1.5},
            marker={"size": 8, "symbol": "circle" if block is None else symbols[block]},
            name=name,
            hovertemplate="%{text}<br>recovery %{y:.3f}<br>%{x:.3f} nats a token from the host",
        )
    figure.add_hline(y=1, line={"color": GREY, "dash": "dash", "width": 1})
    figure.add_hline(y=0, line={"color": GREY, "dash": "dash", "width": 1})
    figure.update_xaxes(title_text="divergence from the host (nats a token)")
    figure.update_yaxes(title_text="share of the donor's gain that is recovered")
    questions = count_phrase(table.assign(n=table["recovery_n"]), "questions")
    tokens = count_phrase(table.assign(n=table["kl_host_n"]), "tokens of the host's replies")
    apply_template(
        figure,
        title="The donor's skill and its cost to the host",
        subtitle=f"{questions}; {tokens} · bars: 95 % intervals<br>dashed: the host's skill (0) and "
        "the donor's (1) · up and to the left is better",
    )
    return add_bottom_legend(figure, plot_height=PLOT_HEIGHT, top=122)


def _label(block: int | None, alpha: float) -> str:
    amount = "" if pd.isna(alpha) else f"{alpha:g}"
    return amount if block is None else f"{block}: {amount}"


def _bars(points: pd.DataFrame, value: str) -> dict[str, object]:
    sides = {
        "array": points[f"{value}_high"] - points[value],
        "arrayminus": points[value] - points[f"{value}_low"],
    }
    lengths = {side: one.astype(float).fillna(0.0).tolist() for side, one in sides.items()}
    return {"type": "data", "symmetric": False, **lengths, "width": 0, "thickness": 1}
