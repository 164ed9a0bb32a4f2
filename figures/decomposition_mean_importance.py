"""Mean importance of each component over single features, strongest first."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from figures.columns import require_columns
from figures.legend import add_bottom_legend
from figures.template import apply_template

COLUMNS = ("seed", "layer", "feature", "component", "importance")


def plot_mean_importance(table: pd.DataFrame) -> go.Figure:
    """One line a layer and seed: components by rank against their mean importance, log scale.

    Reads `seed`, `layer`, `component` and `importance`. A cliff separates components in use from those
    that the training gave up.
    """
    require_columns(table, COLUMNS)
    frame: Any = table
    means = frame.groupby(["layer", "seed", "component"], sort=False)["importance"].mean()
    n_seeds = frame["seed"].nunique()
    figure = go.Figure()
    layers = list(dict.fromkeys(frame["layer"]))
    palette = ["#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"]
    for place, layer in enumerate(layers):
        for number, seed in enumerate(dict.fromkeys(frame["seed"])):
            values = means.loc[(layer, seed)].sort_values(ascending=False)
            figure.add_scatter(
                x=list(range(1, len(values) + 1)),
                y=values.clip(lower=1e-5),
                mode="lines+markers",
                line={"color": palette[place % len(palette)], "width": 1},
                marker={"size": 4},
                name=str(layer),
                legendgroup=str(layer),
                showlegend=number == 0,
                hovertemplate=f"{layer}, seed {seed}: %{{y:.3g}}<extra></extra>",
            )
    figure.update_xaxes(title_text="component by rank")
    figure.update_yaxes(title_text="mean importance", type="log", exponentformat="power")
    apply_template(
        figure,
        title="Mean importance by component",
        subtitle=f"over single features at 0.75 · n = {n_seeds} seeds · values below 1e-5 drawn there",
    )
    return add_bottom_legend(figure, plot_height=320, top=110)
