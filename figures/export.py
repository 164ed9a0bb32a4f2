"""Saving a figure together with the table that it drew."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from figures.print_size import PIXELS_PER_INCH, PrintLayout, for_print

STATIC_FORMATS = ("png", "svg", "pdf")
# Plotly 7 shows by default a button that uploads the chart to Plotly's cloud; ours stay here.
PLOTLY_CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "showSendToCloud": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}
_SECONDS_PER_IMAGE = 180
_PRINT_DPI = 300


def save_figure(
    figure: go.Figure,
    table: pd.DataFrame,
    folder: str | Path,
    name: str,
    formats: Sequence[str] = ("html", "png"),
    *,
    include_plotlyjs: bool | Literal["cdn", "directory"] = True,
    width: int = 1000,
    width_in: float | None = None,
) -> list[Path]:
    """Write `<name>.csv` and the figure in each format into `folder`; return the paths written.

    "html" is interactive and carries plotly.js with it (about 5 MB), so that it opens offline;
    `include_plotlyjs` is handed to plotly. "png", "svg" and "pdf" are `width` pixels wide (png at
    twice the resolution) or, for print, `width_in` inches: laid out anew for that width (`for_print`),
    with labels of 6 to 8 points and png at 300 dots an inch; 3.3 suits a column, 6.9 a page. They
    need kaleido and a Chromium or Chrome: one on the PATH, or the one that the environment variable
    BROWSER_PATH names. Without it the HTML and the table are still written, and a warning reports what
    to install.
    """
    unknown = [kind for kind in formats if kind not in ("html", *STATIC_FORMATS)]
    if unknown:
        known = ", ".join(("html", *STATIC_FORMATS))
        raise ValueError(f"unknown format {', '.join(unknown)}; choose from {known}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}.csv"]
    table.to_csv(written[0], index=False)
    images = {kind: folder / f"{name}.{kind}" for kind in formats if kind != "html"}
    problem = _write_images(figure, images, width, width_in) if images else None
    if "html" in formats or problem:
        page = folder / f"{name}.html"
        figure.write_html(page, include_plotlyjs=include_plotlyjs, config=PLOTLY_CONFIG)
        written.append(page)
    if problem:
        warnings.warn(f"{name}: no {', '.join(images)} written. {problem}", stacklevel=2)
        return written
    return written + list(images.values())


def _is_no_farewell(record: logging.LogRecord) -> bool:
    """False for what the browser's driver logs when its own "{bye}" comes behind a last message.

    Nothing is lost then; an answer that did get lost ends in the timeout below.
    """
    return not record.getMessage().startswith("JSONError decoding message")


def _write_images(
    figure: go.Figure, images: dict[str, Path], width: int, width_in: float | None
) -> str | None:
    """Write all images with one start of the browser; a sentence where none can be written."""
    try:
        import kaleido
        from kaleido.errors import ChromeNotFoundError
    except ImportError:
        return "Static images need the package kaleido: pip install 'kaleido>=1'."
    # only now: the driver's own kind of logger must have been made first
    logging.getLogger("choreographer.channels.pipe").addFilter(_is_no_farewell)
    layout: Any = figure.layout
    drawn = PrintLayout(figure, width, layout.height or 500, 1.0)
    png_scale = 2.0
    if width_in is not None:
        drawn = for_print(figure, width_in)
        png_scale = drawn.scale * _PRINT_DPI / PIXELS_PER_INCH
    size = {"width": drawn.width, "height": drawn.height}
    scales = dict.fromkeys(images, drawn.scale) | {"png": png_scale}
    jobs = [
        {"fig": drawn.figure, "path": path, "opts": size | {"format": kind, "scale": scales[kind]}}
        for kind, path in images.items()
    ]
    # mathjax=False: kaleido would otherwise ask a content delivery network for it.
    page = kaleido.PageGenerator(mathjax=False)
    # kaleido's PDFs have margins in a page of the figure's size, which shrinks it and cuts its foot
    page.header += "<style>@page { margin: 0 } body { margin: 0 }</style>"
    options = {"page_generator": page, "timeout": _SECONDS_PER_IMAGE, "n": 1}
    try:
        kaleido.write_fig_from_object_sync(jobs, kopts=options, cancel_on_error=True)
    except ChromeNotFoundError:
        return (
            "Static images need a browser: install Chromium or Chrome (Debian and Ubuntu: "
            "apt install chromium), or set BROWSER_PATH to one."
        )
    return None
