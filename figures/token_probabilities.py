"""How host, donor and merge saw every token of a text, and how far the merge stands from each."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from figures.columns import distinct, require_columns, require_one_row_per
from figures.legend import add_bottom_legend
from figures.template import SEQUENTIAL_SCALE, apply_template, system_colors
from figures.token_text import visible

COLUMNS = ("position", "token", "system", "probability", "entropy_nats", "kl_nats")
STRIP_HEIGHT, LINES_HEIGHT, GAP = 34, 150, 40  # pixels: one system's strip, the lower panel


def plot_token_probabilities(table: pd.DataFrame) -> go.Figure:
    """Strips of the probability that each system gave a text's tokens; below, the merge's divergence.

    Reads `position`, `token`, `system` (one is "merged"), `probability` in [0, 1], `entropy_nats`,
    and `kl_nats`, the Kullback-Leibler divergence of the merge's distribution from the system's.
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["position", "system"])
    systems = distinct(table, "system")
    tokens = table.drop_duplicates("position").sort_values("position")
    height = STRIP_HEIGHT * len(systems) + LINES_HEIGHT
    figure = make_subplots(
        rows=2,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=GAP / (height + GAP),
        row_heights=[STRIP_HEIGHT * len(systems), LINES_HEIGHT],
    )
    figure.add_trace(_strips(table, systems, height), row=1, col=1)
    colors = system_colors(systems)
    for system in systems:
        if system != "merged":
            figure.add_trace(_divergence(table, system, colors[system]), row=2, col=1)
    apply_template(
        figure,
        title="What each model expected",
        subtitle=f"n = {len(tokens)} tokens of one text · above: probability of the token that came",
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, row=1, col=1)
    figure.update_xaxes(showgrid=False, showline=False, ticks="", row=1, col=1)
    figure.update_yaxes(title_text="KL (nats)", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(
        title_text="token",
        tickmode="array",
        tickvals=list(tokens["position"]),
        ticktext=[visible(token) for token in tokens["token"]],
        tickangle=-90,
        showgrid=False,
        row=2,
        col=1,
    )
    return add_bottom_legend(figure, plot_height=height + GAP, top=92, axis_height=110)


def _strips(table: pd.DataFrame, systems: list[str], height: int) -> go.Heatmap:
    grids = {
        column: table.pivot(index="system", columns="position", values=column).loc[systems]
        for column in ("probability", "entropy_nats", "token")
    }
    grid = grids["probability"]
    details = [
        [
            list(details)
            for details in zip(
                map(visible, grids["token"].loc[system]),
                grids["entropy_nats"].loc[system],
                grid.columns,
                strict=True,
            )
        ]
        for system in systems
    ]
    share = STRIP_HEIGHT * len(systems) / (height + GAP)
    return go.Heatmap(
        z=grid.to_numpy(),
        x=list(grid.columns),
        y=systems,
        customdata=details,
        zmin=0,
        zmax=1,
        colorscale=SEQUENTIAL_SCALE,
        xgap=1,
        ygap=3,
        colorbar={
            "title": {"text": "probability"},
            "thickness": 12,
            "len": share,
            "y": 1,
            "yanchor": "top",
            "tickvals": [0, 0.5, 1],
        },
        hovertemplate="%{y}, position %{customdata[2]}: “%{customdata[0]}”<br>probability %{z:.3f}"
        "<br>entropy %{customdata[1]:.2f} nats<extra></extra>",
    )


def _divergence(table: pd.DataFrame, system: str, color: str) -> go.Scatter:
    rows = table.loc[table["system"] == system].sort_values("position")
    return go.Scatter(
        x=rows["position"],
        y=rows["kl_nats"],
        customdata=[
            [position, visible(token)]  # the axis shows tokens, so x would read as one
            for position, token in zip(rows["position"], rows["token"], strict=True)
        ],
        mode="lines+markers",
        line={"color": color, "width": 2},
        marker={"size": 6},
        name=f"KL(merged ‖ {system})",
        hovertemplate="position %{customdata[0]}: “%{customdata[1]}”<br>%{y:.3f} nats",
    )
