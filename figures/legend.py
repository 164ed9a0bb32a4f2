"""A legend below everything else, with room of its own at every window width."""

from typing import Any

import plotly.graph_objects as go

NARROWEST = 600  # pixels for the legend in a figure 700 pixels wide
_SYMBOL, _LETTER, _ROW = 45, 6.3, 20  # pixels: line sample with gaps, mean letter, row of entries


def legend_names(figure: go.Figure) -> list[str]:
    """Names of the traces that have an entry in the legend."""
    traces: Any = figure["data"]
    return [str(trace.name) for trace in traces if trace.showlegend is not False]


def legend_height(n_entries: int, text_width: float, width: float) -> int:
    """Pixels that so many entries need in a legend `width` pixels wide."""
    n_columns = max(1, int(width // (text_width + _SYMBOL)))
    return _ROW * -(-n_entries // n_columns)


def add_bottom_legend(
    figure: go.Figure, *, plot_height: int, top: int, axis_height: int = 66
) -> go.Figure:
    """Put the legend under the plot area, in columns, and make the figure as high as that needs.

    `plot_height` is the height of the plot area and `top` the margin above it, `axis_height`
    the room for tick labels and axis title below it, in pixels. Room is
    made for the rows that the narrowest figure needs, so that plot areas never shrink.
    """
    names = legend_names(figure)
    text_width = round(_LETTER * max(map(len, names), default=0)) + 6
    bottom = axis_height + legend_height(len(names), text_width, NARROWEST)
    return figure.update_layout(
        height=top + plot_height + bottom,
        margin={"t": top, "b": bottom},
        showlegend=bool(names),
        legend={
            "orientation": "h",
            "yref": "container",
            "y": 0.0,
            "yanchor": "bottom",
            "x": 0.0,
            "xanchor": "left",
            "entrywidth": text_width,
            "tracegroupgap": 0,
        },
    )
