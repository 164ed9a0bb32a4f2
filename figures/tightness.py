"""How much of the bound is used up: a histogram of gap over bound."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns
from figures.legend import add_bottom_legend
from figures.template import BLUE, GREY, SKY, apply_template

COLUMNS = ("layer", "alpha", "gap_nats", "bound_nats", "float_error_nats")
PLOT_HEIGHT, BIN = 320, 0.1
LEFT, RIGHT = (
    -1.0,
    1.1,
)  # values beyond are counted in the first bin, and in one more after the last


def plot_tightness(table: pd.DataFrame, alpha: float | None = None) -> go.Figure:
    """Share of tokens by gap / bound, the last block next to the earlier ones; 1: the bound is reached.

    Reads `layer`, `alpha`, `gap_nats`, `bound_nats` and `float_error_nats`, at one `alpha` (None: the
    middle one). Negative: the merge's loss lies below the line between both ends'. The first bin holds
    all of -1 and less, the last all of 1.1 and more, where the bound is broken by more than rounding;
    the subtitle counts both, and the tokens left out because their bound is below the float error.
    """
    require_columns(table, COLUMNS)
    alphas = sorted(distinct(table, "alpha"))
    alpha = alphas[len(alphas) // 2] if alpha is None else alpha
    rows = table.loc[table["alpha"] == alpha]
    if rows.empty:
        raise ValueError(f"alpha={alpha} is not in the table; it has {alphas}")
    defined = rows.loc[rows["bound_nats"] > rows["float_error_nats"]]
    last = int(rows["layer"].max())
    tightness = defined["gap_nats"] / defined["bound_nats"]
    n_low, n_high = int((tightness <= LEFT).sum()), int((tightness >= RIGHT).sum())
    groups = {
        "earlier blocks": (defined.loc[defined["layer"] < last], SKY),
        f"last block drawn, {last}": (defined.loc[defined["layer"] == last], BLUE),
    }
    figure = go.Figure()
    for name, (points, color) in groups.items():
        if len(points):
            figure.add_trace(_histogram(points, name, color))
    edge = {"color": GREY, "width": 1.5, "dash": "dash"}
    figure.add_shape(type="line", x0=1, x1=1, y0=0, y1=1, yref="y domain", line=edge)
    figure.update_xaxes(title_text="tightness: gap / bound", range=[LEFT - 0.05, RIGHT + BIN])
    figure.update_yaxes(title_text="tokens (%)")
    left_out = len(rows) - len(defined)
    apply_template(
        figure,
        title=f"How tight the bound is, α = {alpha:g}",
        subtitle=f"n = {len(defined):,} (token, block) pairs · {left_out:,} with a bound below float "
        f"error left out<br>1: the bound is reached · first bin: {n_low:,} of −1 and less · "
        f"last bin: {n_high:,} of {RIGHT:g} and more",
    )
    figure.update_layout(barmode="group", bargap=0.12)
    return add_bottom_legend(figure, plot_height=PLOT_HEIGHT, top=122)


def _histogram(points: pd.DataFrame, name: str, color: str) -> go.Histogram:
    return go.Histogram(
        x=(points["gap_nats"] / points["bound_nats"]).clip(LEFT, RIGHT + BIN / 2),
        xbins={"start": LEFT, "end": RIGHT + BIN, "size": BIN},
        histnorm="percent",
        marker={"color": color, "line": {"width": 0}},
        name=name,
        hovertemplate="gap / bound %{x}<br>%{y:.1f} % of tokens",
    )
