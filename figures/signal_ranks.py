"""How well cheap signals rank the merges of a grid by what was then measured."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from figures.columns import count_phrase, distinct, require_columns, require_one_row_per
from figures.interval_bars import interval_bars
from figures.template import BLUE, GREY, apply_template

COLUMNS = ("signal", "outcome", "alpha", "spearman", "low", "high", "n")
OUTCOME_TITLES = {
    "loss": "loss on whole texts",
    "loss_answer": "loss on right answers",
    "kl_host": "KL(merge ‖ host)",
    "accuracy": "accuracy",
}
ROW_HEIGHT, TOP, BOTTOM = 30, 122, 66  # pixels


def plot_signal_ranks(table: pd.DataFrame) -> go.Figure:
    """One panel an outcome: Spearman's correlation of each signal with it over all merges.

    Reads `signal`, `outcome`, `alpha` (only rows over all alphas, NaN, are drawn), `spearman`, `low`
    and `high` (95 %) and `n` (merges). Undefined values leave a gap.
    """
    require_columns(table, COLUMNS)
    rows = table.loc[table["alpha"].isna()]
    if rows.empty:
        raise ValueError("table has no row over all alphas (alpha NaN); nothing to draw")
    require_one_row_per(rows, ["signal", "outcome"])
    outcomes, signals = distinct(rows, "outcome"), distinct(rows, "signal")
    figure = make_subplots(
        rows=1,
        cols=len(outcomes),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[f"<b>{OUTCOME_TITLES.get(name, name)}</b>" for name in outcomes],
    )
    figure.update_annotations(font_size=13)
    for column, outcome in enumerate(outcomes, start=1):
        points = rows.loc[rows["outcome"] == outcome].set_index("signal").loc[signals]
        figure.add_trace(
            go.Scatter(
                x=points["spearman"],
                y=signals,
                customdata=points["n"],
                error_x=interval_bars(points, "spearman"),
                mode="markers",
                marker={"size": 8, "color": BLUE},
                showlegend=False,
                hovertemplate="%{y}: %{x:.2f}<br>n = %{customdata} merges<extra></extra>",
            ),
            row=1,
            col=column,
        )
    zero = {"color": GREY, "width": 1, "dash": "dot"}
    for panel in ("", *range(2, len(outcomes) + 1)):
        refs = {"xref": f"x{panel}", "yref": f"y{panel} domain"}
        figure.add_shape(type="line", x0=0, x1=0, y0=0, y1=1, line=zero, **refs)
    apply_template(
        figure,
        title="How signals taken before generating rank the merges",
        subtitle=f"{count_phrase(rows, 'merges')} · bars: 95 % intervals"
        "<br>signals: layer and alpha for comparison",
    )
    figure.update_xaxes(title_text="Spearman's correlation", range=[-1.08, 1.08])
    figure.update_yaxes(autorange="reversed", type="category")
    height = ROW_HEIGHT * len(signals)
    return figure.update_layout(height=TOP + height + BOTTOM, margin={"t": TOP, "b": BOTTOM})
