"""A figure in print: laid out for a width in inches, with letters that can be read."""

import warnings
from textwrap import wrap
from typing import Any, NamedTuple

import plotly.graph_objects as go

from figures.legend import NARROWEST, legend_height, legend_names
from figures.template import TEMPLATE

# of the size on a screen: labels of 11 to 13 pixels become 6.2 to 7.3 points
PRINT_SCALE = 0.75
PIXELS_PER_INCH = 96  # of CSS, whatever the screen
_EDGE = 12  # pixels on each side of the title
_LETTER, _LINE = 0.52, 1.3  # mean width of a letter and height of a line, of the font size
_AXIS_WIDTH = 62  # pixels: tick labels and title of an axis between two panels
_NARROWEST_PANEL = 65  # pixels


class PrintLayout(NamedTuple):
    """A figure to draw at `width` x `height` pixels and to print at `scale` of that."""

    figure: go.Figure
    width: int
    height: int
    scale: float


def for_print(figure: go.Figure, width_in: float) -> PrintLayout:
    """A copy laid out to be printed so many inches wide (about 3.3 for a column, 6.9 for a page).

    Title and subtitle are broken into lines that fit, the legend gets the rows and panels the room
    between them that they need; the figure grows, so that plot areas keep their height. Warns where
    panels side by side would be too narrow to read.
    """
    if not 1 <= width_in <= 40:
        raise ValueError(f"width_in={width_in} is outside 1..40 inches; a column has about 3.3")
    width = round(width_in * PIXELS_PER_INCH / PRINT_SCALE)
    copy = go.Figure(figure)
    layout: Any = copy.layout
    common: Any = TEMPLATE.layout
    margin = common.margin.to_plotly_json() | layout.margin.to_plotly_json()
    plot_width = width - margin["l"] - margin["r"]
    above = _break_titles(layout.title, width - 2 * _EDGE)
    below = 0
    if layout.legend.entrywidth:
        needs = (len(legend_names(copy)), layout.legend.entrywidth)
        below = max(0, legend_height(*needs, plot_width) - legend_height(*needs, NARROWEST))
    _make_room_between_panels(copy, plot_width, width_in)
    height = (layout.height or 500) + above + below
    margin |= {"t": margin["t"] + above, "b": margin["b"] + below}
    copy.update_layout(width=width, height=height, margin=margin)
    return PrintLayout(copy, width, height, PRINT_SCALE)


def _break_titles(title: Any, width: float) -> int:
    """Break title and subtitle into lines of `width` pixels; the pixels that new lines need."""
    more = 0.0
    for part in (title, title.subtitle):
        if part.text:
            n_letters = int(width / (_LETTER * part.font.size))
            lines = [wrap(line, n_letters) for line in part.text.split("<br>")]
            more += sum(len(parts) - 1 for parts in lines) * _LINE * part.font.size
            part.text = "<br>".join(line for parts in lines for line in parts)
    title.update(xref="container", x=0, pad={"l": _EDGE, "t": 16})
    return round(more)


def _make_room_between_panels(figure: go.Figure, plot_width: float, width_in: float) -> None:
    """Set columns of panels apart by what the axes between them need."""
    axes: list[Any] = list(figure.select_xaxes())
    notes: list[Any] = list(figure.select_annotations())
    columns = sorted({tuple(axis.domain) for axis in axes if axis.domain})
    if len(columns) < 2:
        return
    n = len(columns)
    first = {axis.anchor or "y" for axis in axes if axis.domain and axis.domain[0] == 0}
    y_axes: list[Any] = list(figure.select_yaxes())
    titled = {axis.plotly_name.replace("axis", "") for axis in y_axes if axis.title.text}
    gap = columns[1][0] - columns[0][1]
    if titled - first:
        gap = max(gap, _AXIS_WIDTH / plot_width)
    share = (1 - (n - 1) * gap) / n
    places = {
        old: (place * (share + gap), place * (share + gap) + share)
        for place, old in enumerate(columns)
    }
    for axis in axes:
        if axis.domain:
            axis.domain = places[tuple(axis.domain)]
    centres = {sum(old) / 2: sum(new) / 2 for old, new in places.items()}
    for note in notes:
        near = [old for old in centres if note.xref == "paper" and abs(old - note.x) < 1e-6]
        if near:
            note.x = centres[near[0]]
    if share * plot_width < _NARROWEST_PANEL:
        title = figure["layout"]["title"]["text"]
        warnings.warn(
            f"figure {title!r}: {n} panels side by side have {share * plot_width:.0f} pixels each at "
            f"{width_in} inches; print it wider",
            stacklevel=5,
        )
