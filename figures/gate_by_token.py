"""Weight of the donor: alpha of every token of a text, at each merged block."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns, require_one_row_per
from figures.template import apply_template
from figures.token_text import visible

N_PIXELS_PER_BLOCK, N_PIXELS_AROUND = 36, 230


def plot_gate_by_token(table: pd.DataFrame) -> go.Figure:
    """A strip of tokens for each merged block, coloured by alpha from 0 (host) to 1 (donor).

    Columns: layer (int), position (int, from 0), token (str), alpha (float). One row a layer and
    position; NaN where no alpha was recorded.
    """
    require_columns(table, ["layer", "position", "token", "alpha"])
    require_one_row_per(table, ["layer", "position"])
    layers = sorted(distinct(table, "layer"))
    grid = table.pivot(index="layer", columns="position", values="alpha").loc[layers]
    tokens = table.drop_duplicates("position").set_index("position").token[grid.columns]
    figure = go.Figure(
        go.Heatmap(
            z=grid.to_numpy(),
            x=list(grid.columns),
            y=[f"block {layer}" for layer in layers],
            customdata=[[[place, visible(token)] for place, token in tokens.items()]] * len(layers),
            zmin=0,
            zmax=1,
            colorscale="Blues",
            xgap=1,
            ygap=2,
            colorbar={"title": {"text": "alpha"}, "thickness": 12},
            hovertemplate="%{y}, position %{customdata[0]}: “%{customdata[1]}”"
            "<br>alpha %{z:.3f}<extra></extra>",
        )
    )
    figure.update_xaxes(
        title_text="token",
        tickmode="array",
        tickvals=list(grid.columns),
        ticktext=[visible(token) for token in tokens],
        tickangle=-90,
        showgrid=False,
    )
    figure.update_yaxes(title_text="merged block", showgrid=False)
    subtitle = f"n = {len(tokens)} tokens · alpha: the donors' weight, 0 host to 1 donor"
    apply_template(figure, title="Weight of the donor at each token", subtitle=subtitle)
    height = N_PIXELS_AROUND + N_PIXELS_PER_BLOCK * len(layers)
    return figure.update_layout(height=height)
