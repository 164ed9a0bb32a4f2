"""How host, donor and merge saw every token of a text, how far they stand apart, what it can cost."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from figures.columns import distinct, require_columns, require_one_row_per
from figures.legend import add_bottom_legend
from figures.template import PURPLE, SEQUENTIAL_SCALE, apply_template, system_colors
from figures.token_text import visible

COLUMNS = ("position", "token", "system", "probability", "entropy_nats", "kl_nats")
CURVATURE_COLUMNS = ("curvature_layer", "k_g", "curvature_nats")
STRIP_HEIGHT, LINES_HEIGHT, GAP = 34, 150, 40  # pixels: one system's strip, a lower panel


def plot_token_probabilities(table: pd.DataFrame) -> go.Figure:
    """Strips of the probability that each system gave a text's tokens; below, the merge's divergence.

    Reads `position`, `token`, `system` (one is "merged"), `probability` in [0, 1], `entropy_nats`,
    and `kl_nats`, the Kullback-Leibler divergence of the merge's distribution from the system's.
    Where the table has them, also `curvature_layer`, `k_g` (nats per squared norm) and
    `curvature_nats` (K_g |d - h|^2), the same for all systems of a position: they have a panel of
    their own; 0 where the loss is convex.
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["position", "system"])
    systems = distinct(table, "system")
    tokens = table.drop_duplicates("position").sort_values("position")
    has_curvature = set(CURVATURE_COLUMNS) <= set(table.columns)
    heights = [STRIP_HEIGHT * len(systems), LINES_HEIGHT, *[LINES_HEIGHT] * has_curvature]
    n_rows, height = len(heights), sum(heights) + GAP * (len(heights) - 1)
    figure = make_subplots(
        rows=n_rows,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=GAP / height,
        row_heights=heights,
    )
    figure.add_trace(_strips(table, systems, heights[0] / height), row=1, col=1)
    colors = system_colors(systems)
    for system in systems:
        if system != "merged":
            figure.add_trace(_divergence(table, system, colors[system]), row=2, col=1)
    note = ""
    if has_curvature:
        figure.add_trace(_curvature(tokens), row=3, col=1)
        title = "K<sub>g</sub> (nats / norm²)"
        figure.update_yaxes(title_text=title, rangemode="tozero", row=3, col=1)
        block = int(tokens["curvature_layer"].iloc[0])
        note = (
            "<br>below: K<sub>g</sub>, curvature of the token's loss from host to donor at block "
        )
        note += f"{block} (0: convex)"
    apply_template(
        figure,
        title="Token probabilities by model",
        subtitle=f"n = {len(tokens)} tokens of one text · above: probability of the token that came"
        + note,
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
        row=n_rows,
        col=1,
    )
    top = 112 if has_curvature else 92
    return add_bottom_legend(figure, plot_height=height, top=top, axis_height=110)


def _strips(table: pd.DataFrame, systems: list[str], share: float) -> go.Heatmap:
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
        customdata=_words(rows),
        mode="lines+markers",
        line={"color": color, "width": 2},
        marker={"size": 6},
        name=f"KL(merged ‖ {system})",
        hovertemplate="position %{customdata[0]}: “%{customdata[1]}”<br>%{y:.3f} nats",
    )


def _curvature(tokens: pd.DataFrame) -> go.Scatter:
    return go.Scatter(
        x=tokens["position"],
        y=tokens["k_g"],
        customdata=[
            [*word, nats]
            for word, nats in zip(_words(tokens), tokens["curvature_nats"], strict=True)
        ],
        mode="lines+markers",
        line={"color": PURPLE, "width": 2},
        marker={"size": 6},
        name="K<sub>g</sub>",
        hovertemplate="position %{customdata[0]}: “%{customdata[1]}”<br>K<sub>g</sub> %{y:.3g} nats per "
        "squared norm<br>K<sub>g</sub> |d − h|² %{customdata[2]:.3g} nats",
    )


def _words(rows: pd.DataFrame) -> list[list]:
    """Position and token, for hover texts: the axis shows tokens, so x would read as one."""
    return [
        [position, visible(token)]
        for position, token in zip(rows["position"], rows["token"], strict=True)
    ]
