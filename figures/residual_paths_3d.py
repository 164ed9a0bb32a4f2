"""The way of the mean residual stream through the blocks, in three principal components."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns, require_one_row_per
from figures.template import apply_template, system_colors

AXES = ("pc1", "pc2", "pc3")
COLUMNS = ("stream", "layer", *AXES, *(f"explained_frac_{number}" for number in (1, 2, 3)))


def plot_residual_paths_3d(table: pd.DataFrame) -> go.Figure:
    """One path per stream over depth, to be turned with the mouse; ends are labelled by block.

    Reads `stream`, `layer`, `pc1` to `pc3` and `explained_frac_1` to `explained_frac_3` (shares of
    variance in [0, 1]).
    """
    require_columns(table, COLUMNS)
    require_one_row_per(table, ["stream", "layer"])
    figure = go.Figure()
    for stream, color in system_colors(distinct(table, "stream")).items():
        path = table.loc[table["stream"] == stream].sort_values("layer")
        blocks = [f"block {layer}" for layer in path["layer"]]
        ends = [blocks[0], *[""] * (len(blocks) - 2), blocks[-1]] if len(blocks) > 1 else blocks
        figure.add_trace(
            go.Scatter3d(
                **{axis: path[column] for axis, column in zip("xyz", AXES, strict=True)},
                mode="lines+markers+text",
                text=ends,
                textfont={"size": 11, "color": color},
                customdata=path["layer"],
                line={"color": color, "width": 5},
                marker={"size": 4, "color": color},
                name=stream,
                hovertemplate="block %{customdata}<br>(%{x:.3g}, %{y:.3g}, %{z:.3g})",
            )
        )
    shares = [100 * float(table[f"explained_frac_{number}"].iloc[0]) for number in (1, 2, 3)]
    apply_template(
        figure,
        title="Mean residual stream over depth, in space",
        subtitle=f"three principal components, {sum(shares):.1f} % of variance · drag to turn",
    )
    scene = {
        f"{axis}axis": {
            "title": {"text": f"PC {number} ({share:.1f} %)", "font": {"size": 12}},
            "tickfont": {"size": 11},
        }
        for number, (axis, share) in enumerate(zip("xyz", shares, strict=True), start=1)
    }
    return figure.update_layout(
        height=640,
        scene=scene | {"aspectmode": "cube", "camera": {"eye": {"x": 1.25, "y": 1.2, "z": 0.6}}},
        margin={"l": 10, "r": 10, "b": 10},
        legend={"orientation": "h", "x": 0, "y": 0},
    )
