"""Where in a text a merge can cost: the curvature of each token's loss, at each block."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns, require_one_row_per
from figures.template import SEQUENTIAL_SCALE, apply_template
from figures.token_text import visible

COLUMNS = ("layer", "alpha", "position", "token", "curvature_nats", "k_g", "gap_nats")
N_PIXELS_PER_BLOCK, N_PIXELS_AROUND = 36, 250
DECADES = 4  # below the largest value; less is drawn as nothing


def plot_curvature_by_token(table: pd.DataFrame) -> go.Figure:
    """A strip of tokens for each block, coloured by K_g |d - h|^2 of the token's loss, in nats.

    Reads `layer`, `alpha`, `position`, `token`, `curvature_nats` (it does not depend on alpha), and for
    the hover text `k_g` and `gap_nats` at the middle alpha. The scale is logarithmic; tokens with
    convex losses, and those more than four decades below the largest, are left blank.
    """
    require_columns(table, COLUMNS)
    alphas = sorted(distinct(table, "alpha"))
    alpha = alphas[len(alphas) // 2]
    rows = table.loc[table["alpha"] == alpha]
    require_one_row_per(rows, ["layer", "position"])
    layers = sorted(distinct(rows, "layer"))
    grids = {
        name: rows.pivot(index="layer", columns="position", values=name).loc[layers]
        for name in ("curvature_nats", "k_g", "gap_nats")
    }
    positions = list(grids["k_g"].columns)
    tokens = rows.drop_duplicates("position").set_index("position").token[positions]
    values = grids["curvature_nats"].to_numpy(dtype=float)
    largest = float(np.max(values, initial=0.0, where=np.isfinite(values)))
    top = float(np.log10(largest)) if largest > 0 else 0.0
    with np.errstate(divide="ignore"):
        logs = np.log10(values)
    logs[~(logs >= top - DECADES)] = np.nan
    ticks = np.arange(np.ceil(top - DECADES), np.floor(top) + 1)
    words = np.broadcast_to(np.array([visible(token) for token in tokens]), values.shape)
    figure = go.Figure(
        go.Heatmap(
            z=logs,
            x=positions,
            y=[f"block {layer}" for layer in layers],
            customdata=np.dstack(
                [words, values, grids["k_g"].to_numpy(), grids["gap_nats"].to_numpy()]
            ).tolist(),
            zmin=top - DECADES,
            zmax=top,
            colorscale=SEQUENTIAL_SCALE,
            xgap=1,
            ygap=2,
            colorbar={
                "title": {"text": "nats"},
                "thickness": 12,
                "tickvals": ticks,
                "ticktext": [f"{10.0**tick:g}" for tick in ticks],
            },
            hovertemplate="%{y}, token %{x} %{customdata[0]}<br>K<sub>g</sub> |d − h|² "
            "%{customdata[1]:.4g} nats<br>K<sub>g</sub> %{customdata[2]:.4g}<br>"
            f"gap at α = {alpha:g}: %{{customdata[3]:.4g}} nats<extra></extra>",
        )
    )
    figure.update_xaxes(
        title_text="token whose loss it is",
        tickmode="array",
        tickvals=positions,
        ticktext=[visible(token) for token in tokens],
        tickangle=-90,
        showgrid=False,
    )
    figure.update_yaxes(title_text="merged block", showgrid=False)
    subtitle = (
        f"n = {len(positions)} tokens of one text · K<sub>g</sub> |d − h|², the steepest "
        "negative curvature between host and donor<br>blank: convex, or four decades below the largest"
    )
    apply_template(figure, title="Where in a text a merge can cost", subtitle=subtitle)
    height = N_PIXELS_AROUND + N_PIXELS_PER_BLOCK * len(layers)
    return figure.update_layout(height=height, margin={"t": 112})
