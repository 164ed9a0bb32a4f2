"""One self-contained HTML page of figures and tables; it opens without a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from figures.caption import captioned
from figures.export import PLOTLY_CONFIG

_UNDEFINED = "–"
_LONGEST_LINE = 40  # characters


@dataclass(frozen=True)
class Section:
    """A heading with text and, where given, a figure and a table below it; goes on if untitled."""

    title: str
    text: str
    figure: go.Figure | None = None
    table: pd.DataFrame | None = None


def render_page(title: str, introduction: str, sections: Sequence[Section]) -> str:
    """The page as a string of HTML; plotly.js is embedded once, nothing is fetched.

    Titles, texts and table cells are plain text and escaped (a blank line starts a paragraph);
    tables show their numbers to three significant digits.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        title=title,
        introduction=_paragraphs(introduction),
        sections=[_section_parts(section) for section in sections],
        plotlyjs=Markup(get_plotlyjs()),
    )


def format_number(value: Any) -> str:
    """A number for reading: whole numbers in full, others to three significant digits."""
    if pd.isna(value):
        return _UNDEFINED
    if isinstance(value, (int, np.integer)):
        return str(value)
    rounded = float(f"{float(value):.3g}")
    if rounded == 0 or 1e-4 <= abs(rounded) < 1e7:
        return np.format_float_positional(rounded, trim="-")
    return f"{rounded:.3g}"


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def _section_parts(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "paragraphs": _paragraphs(section.text),
        "figure": None if section.figure is None else _figure_parts(section.figure),
        "table": None if section.table is None else _table_parts(section.table),
    }


def _figure_parts(figure: go.Figure) -> dict[str, Any]:
    """Caption, element and script; plotly escapes <, > and / in the data it writes."""
    title, subtitle, plot = captioned(figure)
    html = plot.to_html(full_html=False, include_plotlyjs=False, config=PLOTLY_CONFIG)
    return {"title": title, "subtitle": subtitle, "plot": Markup(html)}


def _table_parts(table: pd.DataFrame) -> dict[str, Any]:
    """Header and cells as text, each with the kind of its column, which is its CSS class."""
    texts = [[_cell_text(value) for value in row] for row in table.itertuples(index=False)]
    kinds = [
        _column_kind(dtype, [row[place] for row in texts])
        for place, dtype in enumerate(table.dtypes)
    ]
    return {
        "columns": list(zip(map(str, table.columns), kinds, strict=True)),
        "rows": [list(zip(row, kinds, strict=True)) for row in texts],
    }


def _column_kind(dtype: Any, texts: Sequence[str]) -> str:
    """Kind of a column: "number", "long" for text that may wrap, "short" for text on one line."""
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype):
        return "number"
    return "long" if any(len(text) > _LONGEST_LINE or "\n" in text for text in texts) else "short"


def _cell_text(value: Any) -> str:
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if is_number or value is None or value is pd.NA or value is pd.NaT:
        return format_number(value)
    return str(value)
