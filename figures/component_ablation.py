"""What taking away single components of a language model costs on the texts of each skill."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import count_phrase, require_columns, require_one_row_per
from figures.template import apply_template

COLUMNS = ("layer", "component", "skill", "loss_change", "n")
TOP, BOTTOM, ROW_HEIGHT = 110, 96, 26  # pixels


def plot_component_ablation(table: pd.DataFrame) -> go.Figure:
    """One row a component, one column a skill: the rise of the loss without it, nats a token.

    Reads `layer`, `component`, `skill`, `loss_change` and `n` (texts of the skill).
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["layer", "component", "skill"])
    named = table.assign(name=table["layer"] + " " + table["component"].astype(str))
    wide = named.pivot(index="name", columns="skill", values="loss_change")
    wide = wide.loc[named["name"].unique()]
    figure = go.Figure(
        go.Heatmap(
            z=wide.to_numpy(),
            x=list(wide.columns),
            y=list(wide.index),
            colorscale="RdBu_r",
            zmid=0,
            colorbar={"title": "nats"},
            hovertemplate="%{y}, %{x}: %{z:.4f} nats a token<extra></extra>",
        )
    )
    apply_template(
        figure,
        title="Loss without a component",
        subtitle=f"rise of the loss of the next token, {count_phrase(table, 'texts')} a skill",
    )
    figure.update_yaxes(autorange="reversed", type="category")
    height = TOP + ROW_HEIGHT * len(wide) + BOTTOM
    return figure.update_layout(height=height, margin={"t": TOP, "b": BOTTOM})
