"""Similarity of source and target against the source's accuracy on the target."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns, require_one_row_per
from figures.template import BLUE, apply_template

COLUMNS = ("target", "source", "similarity", "accuracy_frac")


def plot_similarity_against_transfer(pairs: pd.DataFrame, correlations: pd.DataFrame) -> go.Figure:
    """One dot a pair of source and target: x = similarity, y = accuracy in percent.

    pairs: `target`, `source`, `similarity`, `accuracy_frac`. correlations: `target`, `spearman`, `low`
    and `high`, of which the row of target "mean" is in the subtitle.
    """
    require_columns(pairs, COLUMNS)
    require_one_row_per(pairs, ["target", "source"])
    require_columns(correlations, ("target", "spearman", "low", "high"))
    mean = correlations[correlations["target"] == "mean"].iloc[0]
    figure = go.Figure(
        go.Scatter(
            x=pairs["similarity"],
            y=100 * pairs["accuracy_frac"],
            customdata=pairs[["source", "target"]],
            mode="markers",
            marker={"color": BLUE, "size": 7, "opacity": 0.45},
            hovertemplate="%{customdata[0]} on %{customdata[1]}<br>similarity %{x:.3f}, "
            "%{y:.1f} %<extra></extra>",
        )
    )
    apply_template(
        figure,
        title="Similarity against measured transfer",
        subtitle=f"n = {len(pairs)} pairs · Spearman by target, mean of "
        f"{len(distinct(pairs, 'target'))}: {mean['spearman']:.2f} [{mean['low']:.2f}, "
        f"{mean['high']:.2f}] (95 %)",
    )
    figure.update_xaxes(title_text="similarity")
    figure.update_yaxes(title_text="accuracy of the source on the target (%)")
    return figure
