"""Figures in notebooks need no network and no browser."""

import plotly.io as pio
import pytest

from figures import use_in_notebooks


@pytest.fixture(autouse=True)
def _restored():
    before = pio.renderers.default
    yield
    pio.renderers.default = before


def test_a_picture_is_added_only_where_a_browser_can_draw_it(monkeypatch):
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    monkeypatch.setenv("PATH", "")
    assert use_in_notebooks() == "plotly_mimetype"
    monkeypatch.setenv("BROWSER_PATH", "/some/browser")
    assert use_in_notebooks() == pio.renderers.default == "plotly_mimetype+png"
