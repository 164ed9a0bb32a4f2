"""A quantity over block and alpha, one heat map an operator, the best cell marked."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from figures.columns import count_phrase, distinct, require_columns, require_one_row_per
from figures.layer_metrics import LayerMetric, grid_note, rows_of
from figures.template import SEQUENTIAL_SCALE, VERMILLION, apply_template

COLUMNS = ("layer", "alpha", "operator", "space", "metric", "value", "low", "high", "n")
TOP, BOTTOM, ROW_HEIGHT = 122, 66, 52  # pixels


def plot_layerwise_heatmap(table: pd.DataFrame, metric: str) -> go.Figure:
    """One heat map an operator (and space): x = block, y = alpha, colour and number = value.

    Reads `layer`, `alpha`, `operator`, `space`, `metric`, `value`, `low`, `high` (95 % interval, shown
    on hover) and `n`; rows of other metrics and of merges without a block are left alone. All maps
    share one colour scale. A frame marks the best cell of each map, where one way is better; an
    undefined value leaves a gap.
    """
    require_columns(table, COLUMNS)
    rows, drawn_as = rows_of(table.loc[table["layer"].notna()], metric)
    require_one_row_per(rows, ["layer", "alpha", "operator", "space"])
    kinds = [tuple(kind) for kind in rows[["operator", "space"]].drop_duplicates().to_numpy()]
    several = len(distinct(rows, "space")) > 1
    titles = [f"{operator} in {space}" if several else str(operator) for operator, space in kinds]
    figure = make_subplots(
        rows=1,
        cols=len(kinds),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[f"<b>{title}</b>" for title in titles],
    )
    figure.update_annotations(font_size=13)
    for place, (operator, space) in enumerate(kinds, start=1):
        of_kind = rows.loc[(rows["operator"] == operator) & (rows["space"] == space)]
        _draw_map(figure, of_kind, drawn_as, place)
    best = "frame: best of each map" if drawn_as.less_is_better is not None else ""
    operators = [str(operator) for operator in distinct(rows, "operator")]
    notes = [note for note in (best, "95 % intervals: on hover", grid_note(operators)) if note]
    apply_template(
        figure,
        title=f"{drawn_as.title} by merged block",
        subtitle=f"{count_phrase(rows, drawn_as.unit)} a cell<br>{' · '.join(notes)}",
    )
    figure.update_xaxes(showgrid=False, showline=False)
    figure.update_xaxes(title_text="merged block (from 0)", col=(len(kinds) + 1) // 2)
    figure.update_yaxes(showgrid=False, showline=False)
    figure.update_yaxes(title_text="α, weight of the donor", col=1)
    height = ROW_HEIGHT * len(distinct(rows, "alpha"))
    return figure.update_layout(
        height=TOP + height + BOTTOM,
        margin={"t": TOP, "b": BOTTOM},
        coloraxis={
            "colorscale": SEQUENTIAL_SCALE,
            "colorbar": {"title": {"text": drawn_as.axis, "side": "right"}, "thickness": 14},
        },
    )


def _draw_map(figure: go.Figure, rows: pd.DataFrame, drawn_as: LayerMetric, place: int) -> None:
    cells = {name: rows.pivot(index="alpha", columns="layer", values=name) for name in COLUMNS[5:]}
    layers, alphas = ([str(one) for one in axis] for axis in cells["value"].axes[::-1])
    figure.add_trace(
        go.Heatmap(
            x=layers,
            y=alphas,
            z=cells["value"].to_numpy(),
            customdata=_stacked(cells),
            coloraxis="coloraxis",
            texttemplate="%{z:.2f}",
            textfont={"size": 11},
            xgap=1,
            ygap=1,
            hovertemplate="block %{x}, α = %{y}<br>%{z:.4f}, %{customdata[0]:.4f} to "
            "%{customdata[1]:.4f}<br>n = %{customdata[2]:,}<extra></extra>",
        ),
        row=1,
        col=place,
    )
    figure.update_xaxes(type="category", col=place)
    figure.update_yaxes(type="category", col=place)
    values = rows.set_index(["layer", "alpha"])["value"].dropna()
    if drawn_as.less_is_better is None or values.empty:
        return
    best: Any = values.idxmin() if drawn_as.less_is_better else values.idxmax()
    x, y = layers.index(str(best[0])), alphas.index(str(best[1]))
    figure.add_shape(
        type="rect",
        x0=x - 0.5,
        x1=x + 0.5,
        y0=y - 0.5,
        y1=y + 0.5,
        line={"color": VERMILLION, "width": 3},
        row=1,
        col=place,
    )


def _stacked(cells: dict[str, pd.DataFrame]) -> list[list[list[float]]]:
    parts = [cells[name].to_numpy().tolist() for name in ("low", "high", "n")]
    return [[list(cell) for cell in zip(*rows, strict=True)] for rows in zip(*parts, strict=True)]
