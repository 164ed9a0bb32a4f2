"""The explorer as a page of this machine: a notebook of one cell, served by Voila on 127.0.0.1."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from analyses.adaptation.explorer_options import ExplorerOptions
from analyses.running.loading_bars import without_loading_bars

if TYPE_CHECKING:
    from analyses.adaptation.explorer import AdaptationExplorer

ADDRESS = "127.0.0.1"
# of JupyterLab, in the browser: needs parts of it that Voila has not
LEFT_OUT = ("@jupyter-notebook/lab-extension",)
# Voila's page without the style sheets that it fetches from elsewhere; it has the icons itself
TEMPLATE = """\
{%- extends "lab/index.html.j2" -%}
{%- block notebook_css -%}
{{ super() | replace("https://cdn.jsdelivr.net/", "data:text/css,") }}
{%- endblock notebook_css -%}
"""
CELL = """\
import json
from analyses.adaptation.explorer_page import explorer
explorer(json.loads({options!r})).show()
"""


def explorer(options: dict[str, Any]) -> "AdaptationExplorer":
    """The widget of the page's own kernel; its system is loaded there."""
    from analyses.adaptation.explorer import AdaptationExplorer  # the server needs no torch
    from analyses.comparison.systems import load_system

    without_loading_bars()
    given = ExplorerOptions.model_validate(options)
    config = given.analysis()
    (source,) = config.named_systems().values()
    return AdaptationExplorer(
        load_system(source, device=given.device, dtype=given.dtype),
        context=given.context,
        injected=given.injected,
        config=config,
        max_new_tokens=given.max_new_tokens,
    )


def notebook(options: ExplorerOptions) -> dict[str, Any]:
    """The notebook that is served, with the options in its only cell."""
    source = CELL.format(options=json.dumps(options.from_anywhere()))
    cell = {"cell_type": "code", "id": "explorer", "metadata": {}, "source": source}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "cells": [cell | {"outputs": [], "execution_count": None}],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def serve(options: ExplorerOptions) -> None:
    """Serve the page until it is interrupted. Every visit of it has a kernel and a text of its own.

    Needs the extra web (voila).
    """
    try:
        from voila.app import Voila
    except ModuleNotFoundError as error:
        raise ValueError(
            "the page needs voila: pip install 'lm-merge[web]'; in Jupyter, "
            "analyses.adaptation.explorer.AdaptationExplorer shows the same without it"
        ) from error
    with TemporaryDirectory() as folder:
        path = Path(folder) / "adaptation.ipynb"
        path.write_text(json.dumps(notebook(options)), encoding="utf-8")
        template = Path(folder) / "voila" / "templates" / "local"
        template.mkdir(parents=True)
        (template / "index.html.j2").write_text(TEMPLATE, encoding="utf-8")
        (template / "conf.json").write_text('{"base_template": "lab"}', encoding="utf-8")
        known = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (folder, known)))
        words = [str(path), f"--Voila.ip={ADDRESS}", f"--port={options.port}", "--template=local"]
        words += [f"--VoilaConfiguration.extension_denylist={name}" for name in LEFT_OUT]
        Voila.launch_instance(words + ([] if options.open_browser else ["--no-browser"]))
