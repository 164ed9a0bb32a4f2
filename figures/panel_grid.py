"""Small panels in two columns, of a fixed height each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots


class PanelGrid(NamedTuple):
    """An empty figure, the place of each panel (`row` and `col`), and the height of all in pixels."""

    figure: go.Figure
    places: list[dict[str, Any]]
    height: int


def panel_grid(titles: Sequence[str], *, panel_height: int, gap: int) -> PanelGrid:
    """A panel a title, row by row; one alone has the whole width. `gap` in pixels between rows."""
    n_columns = min(2, len(titles))
    n_rows = -(-len(titles) // n_columns)
    height = panel_height * n_rows + gap * (n_rows - 1)
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=[f"<b>{title}</b>" if title else "" for title in titles],
        horizontal_spacing=0.13,
        vertical_spacing=gap / height,
    )
    figure.update_annotations(font_size=13)
    places: list[dict[str, Any]] = [
        {"row": place // n_columns + 1, "col": place % n_columns + 1}
        for place in range(len(titles))
    ]
    return PanelGrid(figure, places, height)


def without_legend(grid: PanelGrid, *, top: int, bottom: int) -> go.Figure:
    """The figure, as high as its panels and the margins in pixels above and below them."""
    margin = {"t": top, "b": bottom}
    grid.figure.update_layout(height=top + grid.height + bottom, margin=margin, showlegend=False)
    return grid.figure
