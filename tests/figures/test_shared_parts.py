"""Parts that several figures share: interval bars, the grid of panels."""

import math

import pandas as pd
import pytest

from figures.interval_bars import interval_bars
from figures.panel_grid import panel_grid


def test_interval_bars_reach_from_low_to_high_and_leave_out_undefined_ends():
    points = pd.DataFrame(
        {"share": [0.5, 0.25], "low": [0.4, math.nan], "high": [0.75, 0.375]}, index=[7, 3]
    )
    bars = interval_bars(points, "share", scale=100)
    assert bars["array"] == pytest.approx([25.0, 12.5])
    assert bars["arrayminus"] == pytest.approx([10.0, 0.0])
    assert interval_bars(points, "share")["array"] == pytest.approx([0.25, 0.125])


def test_panels_stand_in_two_columns_with_the_height_that_was_asked_for():
    figure, places, height = panel_grid(["a", "b", "c"], panel_height=200, gap=50)
    assert places == [{"row": 1, "col": 1}, {"row": 1, "col": 2}, {"row": 2, "col": 1}]
    assert height == 2 * 200 + 50
    top, bottom = figure.layout.yaxis.domain, figure.layout.yaxis3.domain
    assert (top[1] - top[0]) * height == pytest.approx(200)
    assert (top[0] - bottom[1]) * height == pytest.approx(50)
    assert [note.text for note in figure.layout.annotations] == ["<b>a</b>", "<b>b</b>", "<b>c</b>"]


def test_a_panel_alone_has_the_whole_width_and_may_go_without_title():
    figure, places, height = panel_grid([""], panel_height=200, gap=50)
    assert (places, height) == ([{"row": 1, "col": 1}], 200)
    assert figure.layout.xaxis.domain == (0, 1)
    assert not figure.layout.annotations
