"""How figures appear in notebooks."""

import os
import shutil

import plotly.io as pio

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def use_in_notebooks() -> str:
    """Show figures interactively and, where a browser can draw one, as a picture next to it.

    The picture is what a code host shows of a committed notebook. Nothing is fetched: JupyterLab,
    Notebook 7 and VS Code bring plotly.js with them. Sets plotly's default renderer and returns it.
    """
    has_browser = "BROWSER_PATH" in os.environ or any(map(shutil.which, BROWSERS))
    pio.renderers.default = "plotly_mimetype+png" if has_browser else "plotly_mimetype"
    return pio.renderers.default
