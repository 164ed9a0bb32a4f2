"""The next token as host, donor and merge would choose it, with a slider over the text."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns, require_one_row_per
from figures.slider import slider
from figures.template import apply_template, system_colors
from figures.token_text import visible

COLUMNS = ("position", "token", "system", "candidate", "probability")
PIXELS_PER_CANDIDATE, PIXELS_AROUND = 40, 270


def plot_next_tokens(table: pd.DataFrame) -> go.Figure:
    """Bars of next-token probabilities of each system; the slider moves through the text.

    Reads `position`, `token` (at that position), `system`, `candidate` (a token that may
    follow) and `probability` in [0, 1]; one row a position, system and candidate.
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["position", "system", "candidate"])
    systems, positions = distinct(table, "system"), distinct(table, "position")
    colors = system_colors(systems)
    figure = go.Figure()
    for system in systems:
        figure.add_trace(
            go.Bar(
                orientation="h",
                name=system,
                marker={"color": colors[system]},
                hovertemplate="%{y}: %{x:.4f}",
            )
        )
    bars = {position: _bars(table, position, systems) for position in positions}
    for trace, x, y in zip(figure.data, *bars[positions[0]].values(), strict=True):
        trace.update(x=x, y=y)
    apply_template(
        figure,
        title="Which token comes next",
        subtitle=f"n = {len(positions)} positions of one text · the likeliest tokens of each system · "
        "slider: the token just read",
    )
    words = table.drop_duplicates("position").set_index("position").token
    n_most = max(len(one["y"][0]) for one in bars.values())
    figure.update_layout(
        height=PIXELS_AROUND + PIXELS_PER_CANDIDATE * n_most,
        barmode="group",
        bargap=0.25,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"},
        margin={"b": 130},
        sliders=[
            slider(
                "after ",
                [(f"{position}: {visible(words[position])}", bars[position]) for position in bars],
            )
        ],
    )
    figure.update_xaxes(title_text="probability", range=[0, 1])
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    return figure


def _bars(table: pd.DataFrame, position: int, systems: list[str]) -> dict[str, list]:
    """Lengths and labels of each system's bars: candidates by their highest probability."""
    rows = table.loc[table["position"] == position]
    wide = rows.pivot(index="candidate", columns="system", values="probability")
    wide = wide.loc[wide.max(axis=1).sort_values(ascending=False).index]
    labels = [visible(candidate) or "(empty)" for candidate in wide.index]
    return {"x": [wide[system].tolist() for system in systems], "y": [labels] * len(systems)}
