"""Win, tie and loss shares of pairs of systems, with the win rate and its interval."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from figures.columns import count_phrase, distinct, require_columns, require_one_row_per
from figures.interval_bars import interval_bars
from figures.legend import add_bottom_legend
from figures.template import BLACK, BLUE, VERMILLION, apply_template

COLUMNS = (
    "system", "opponent", "category", "judge", "win_rate", "low", "high", "win_frac",
    "tie_frac", "loss_frac", "n", "worst_half_width", "judge_accuracy_pct",
)  # fmt: skip
# blue, grey and hatched: distinct with any colour vision, and in a grey print
MARKERS = {
    "won": {"color": BLUE},
    "tied": {"color": "#DADCE0"},
    "lost": {"color": "#FFFFFF", "pattern": {"shape": "/", "size": 6, "fgcolor": VERMILLION}},
}
SHARES = {"won": "win_frac", "tied": "tie_frac", "lost": "loss_frac"}
BAR_HEIGHT, PANEL_GAP = 26, 48  # pixels


def plot_win_rates(table: pd.DataFrame) -> go.Figure:
    """One panel a pair of systems, one bar a category: won, tied, lost, in percent of the pairs.

    Reads `system`, `opponent`, `category`, `win_frac`, `tie_frac` and `loss_frac` (both orders agree;
    they sum to 1), `win_rate` with `low` and `high` (95 % interval; all in [0, 1]), `n` (pairs of
    answers), `worst_half_width` (of a share at that many questions), `judge` and
    `judge_accuracy_pct`. A diamond marks the win rate, in which a tie counts half; above 50 % the
    system is ahead. An undefined rate (NaN) has none.
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["system", "opponent", "category"])
    pairs = list(dict.fromkeys(zip(table["system"], table["opponent"], strict=True)))
    heights = [BAR_HEIGHT * len(_rows_of(table, pair)) for pair in pairs]
    plot_height = sum(heights) + PANEL_GAP * (len(pairs) - 1)
    figure = make_subplots(
        rows=len(pairs),
        shared_xaxes=True,
        row_heights=heights,
        vertical_spacing=PANEL_GAP / plot_height,
        subplot_titles=[f"<b>{system}</b> against {opponent}" for system, opponent in pairs],
    )
    figure.update_annotations(font_size=13, x=0, xanchor="left")
    for place, pair in enumerate(pairs, start=1):
        for trace in _panel(_rows_of(table, pair), in_legend=place == 1):
            figure.add_trace(trace, row=place, col=1)
    figure.add_vline(x=50, line={"color": BLACK, "width": 1, "dash": "dot"})
    figure.update_layout(barmode="stack", bargap=0.25)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(range=[0, 100], dtick=25)
    figure.update_xaxes(title_text="share of pairs of answers (%)", row=len(pairs), col=1)
    apply_template(figure, title="Win rates", subtitle=_subtitle(table))
    return add_bottom_legend(figure, plot_height=plot_height, top=120)


def _rows_of(table: pd.DataFrame, pair: tuple[str, str]) -> pd.DataFrame:
    return table.loc[(table["system"] == pair[0]) & (table["opponent"] == pair[1])]


def _panel(rows: pd.DataFrame, *, in_legend: bool) -> list[go.Bar | go.Scatter]:
    labels = [f"{name} ({n:,})" for name, n in zip(rows["category"], rows["n"], strict=True)]
    bars = [
        go.Bar(
            y=labels,
            x=100 * rows[column],
            orientation="h",
            marker=MARKERS[name],
            name=name,
            legendgroup=name,
            showlegend=in_legend,
            hovertemplate=f"{name} %{{x:.1f}} %",
        )
        for name, column in SHARES.items()
    ]
    diamond = go.Scatter(
        y=labels,
        x=100 * rows["win_rate"],
        error_x=interval_bars(rows, "win_rate", scale=100)
        | {"thickness": 2, "width": 4, "color": BLACK},
        mode="markers",
        cliponaxis=False,
        marker={
            "symbol": "diamond",
            "size": 9,
            "color": "#FFFFFF",
            "line": {"color": BLACK, "width": 1.5},
        },
        name="win rate, a tie as half a win",
        legendgroup="rate",
        showlegend=in_legend,
        hovertemplate="win rate %{x:.1f} %",
    )
    return [*bars, diamond]


def _subtitle(table: pd.DataFrame) -> str:
    judges = ", ".join(distinct(table, "judge"))
    calibration = [value for value in distinct(table, "judge_accuracy_pct") if not pd.isna(value)]
    if calibration:
        accuracy = ", ".join(f"{value:.1f} %" for value in calibration)
        judges += f" (its accuracy on labelled pairs: {accuracy})"
    widest = 100 * table["worst_half_width"]
    counts = f"{count_phrase(table, 'pairs of answers')} · bars: 95 % interval, drawn by question"
    worst = f"a share's at worst ± {widest.min():.1f} to {widest.max():.1f} points"
    return f"judge: {judges} · {worst}<br>{counts}"
