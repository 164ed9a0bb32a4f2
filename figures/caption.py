"""A figure's title as text of the page around it, which breaks into lines at every window width."""

import re
from typing import Any, NamedTuple

import plotly.graph_objects as go
from markupsafe import Markup, escape

from figures.template import TEMPLATE

# what plotly's titles may be marked up with (besides line breaks)
_ALLOWED = re.compile(r"&lt;(/?(?:b|i|sub|sup))&gt;")
_LINE = 1.3  # height of a line, of the font size
_LEAST_TOP = 34  # pixels: the tool bar


class Captioned(NamedTuple):
    """Title and lines of the subtitle as HTML, and the figure without them, lower by their height."""

    title: Markup
    subtitle: list[Markup]
    figure: go.Figure


def captioned(figure: go.Figure) -> Captioned:
    """Take title and subtitle off a copy of the figure; the plot area keeps its size."""
    copy = go.Figure(figure)
    layout: Any = copy.layout
    title = layout.title
    lines = (title.subtitle.text or "").split("<br>")
    font_sizes = [title.font.size or 18, *([title.subtitle.font.size or 13] * len(lines))]
    template: Any = TEMPLATE.layout
    height = template.title.pad.t + round(_LINE * sum(font_sizes))
    top = template.margin.t if layout.margin.t is None else layout.margin.t
    freed = max(0, min(height, top - _LEAST_TOP))
    caption = Captioned(_markup(title.text or ""), [_markup(line) for line in lines if line], copy)
    copy.update_layout(title=None, margin={"t": top - freed})
    if layout.height is not None:
        copy.update_layout(height=layout.height - freed)
    return caption


def _markup(text: str) -> Markup:
    """Escaped, but for the tags that plotly draws."""
    return Markup(_ALLOWED.sub(r"<\1>", str(escape(text))))
