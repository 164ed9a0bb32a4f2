"""Weights of the sources that were chosen for targets."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns, require_one_row_per
from figures.template import SEQUENTIAL_SCALE, apply_template

COLUMNS = ("target", "source", "similarity", "weight")
ROW_HEIGHT = 24  # pixels


def plot_weights_by_source(table: pd.DataFrame) -> go.Figure:
    """One row a target, one column a source; number and colour = weight, similarity on hover.

    Reads `target`, `source`, `similarity` and `weight` (of a target they sum to 1); sources that were
    not chosen leave a gap.
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["target", "source"])
    targets, sources = distinct(table, "target"), sorted(distinct(table, "source"))
    weights, similarities = (
        table.pivot(index="target", columns="source", values=name).loc[targets, sources]
        for name in ("weight", "similarity")
    )
    figure = go.Figure(
        go.Heatmap(
            x=sources,
            y=targets,
            z=weights.to_numpy(),
            customdata=similarities.to_numpy(),
            colorscale=SEQUENTIAL_SCALE,
            colorbar={"title": {"text": "weight", "side": "top"}, "thickness": 14},
            texttemplate="%{z:.2f}" if len(targets) <= 6 else None,
            xgap=1,
            ygap=1,
            hovertemplate="%{y} from %{x}: weight %{z:.3f}<br>similarity %{customdata:.3f}"
            "<extra></extra>",
        )
    )
    apply_template(
        figure,
        title="Weights of the chosen sources",
        subtitle=f"{len(targets)} target{'s' if len(targets) > 1 else ''}, weights of a row sum to 1",
    )
    figure.update_xaxes(title_text="source", type="category", tickangle=-60, showgrid=False)
    figure.update_yaxes(title_text="target", type="category", autorange="reversed", showgrid=False)
    return figure.update_layout(height=220 + ROW_HEIGHT * len(targets))
