"""Win-rate bars and the accuracy forest: what is drawn, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from figures import plot_accuracy_forest, plot_win_rates
from figures.template import BLUE, GREY


@pytest.fixture
def rates() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "system": f"latents {operator}",
            "opponent": f"weights {operator}",
            "category": category,
            "operator": operator,
            "judge": "answer key",
            "win_rate": 0.6,
            "low": 0.5,
            "high": 0.7,
            "win_frac": 0.4,
            "tie_frac": 0.4,
            "loss_frac": 0.2,
            "n": 60,
            "worst_half_width": 0.127,
            "judge_accuracy_pct": np.nan,
        }
        for operator in ("slerp", "lerp")
        for category in ("Math", "Overall")
    )


@pytest.fixture
def forest() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "system": system,
            "category": category,
            "operator": operator,
            "space": space,
            "accuracy_frac": 0.5,
            "low": 0.4,
            "high": 0.6,
            "n": 60,
        }
        for system, operator, space in (("host", "", ""), ("latents slerp", "slerp", "latents"))
        for category in ("Math", "Overall")
    )


def test_bars_add_up_and_the_diamond_carries_its_interval(rates):
    figure = plot_win_rates(rates)
    assert len(figure.data) == 2 * 4
    won, tied, lost, rate = figure.data[:4]
    assert list(won.x + tied.x + lost.x) == pytest.approx([100, 100])
    assert rate.x[0] == pytest.approx(60)
    assert (rate.error_x.array[0], rate.error_x.arrayminus[0]) == pytest.approx((10, 10))
    assert list(won.y) == ["Math (60)", "Overall (60)"]
    assert figure.layout.xaxis2.title.text == "share of pairs of answers (%)"
    assert "n = 60 pairs of answers" in figure.layout.title.subtitle.text
    assert "12.7" in figure.layout.title.subtitle.text
    assert [one.text for one in figure.layout.annotations] == [
        "<b>latents slerp</b> against weights slerp",
        "<b>latents lerp</b> against weights lerp",
    ]


def test_won_tied_and_lost_look_the_same_in_every_panel_and_unlike_each_other(rates):
    rates["operator"] = rates.operator.map({"slerp": "", "lerp": "ties"})  # none with a colour
    bars = [one for one in plot_win_rates(rates).data if one.type == "bar"]
    looks = {one.name: set() for one in bars}
    for one in bars:
        looks[one.name].add((one.marker.color, one.marker.pattern.shape))
    assert [len(of_name) for of_name in looks.values()] == [1, 1, 1]
    assert len(set.union(*looks.values())) == 3
    assert {one.marker.color for one in bars if one.name == "won"} == {BLUE}


def test_a_judges_own_accuracy_stands_beside_its_rates(rates):
    subtitle = plot_win_rates(rates.assign(judge_accuracy_pct=50.0, judge="gpt")).layout.title
    assert "gpt (its accuracy on labelled pairs: 50.0 %)" in subtitle.subtitle.text


def test_the_forest_has_a_panel_a_category_and_a_symbol_a_space(forest):
    figure = plot_accuracy_forest(forest)
    assert [trace.marker.symbol for trace in figure.data] == ["circle", "diamond"] * 3
    assert [trace.showlegend is not False for trace in figure.data] == [False] * 4 + [True] * 2
    assert {trace.marker.color for trace in figure.data[4:]} == {GREY}  # colour is the operator's
    assert figure.data[1].x[0] == pytest.approx(50)
    assert list(figure.layout.yaxis.categoryarray) == ["latents slerp", "host"]
    assert "n = 60 answers" in figure.layout.title.subtitle.text
    assert len(figure.layout.shapes) == 2


def test_an_undefined_accuracy_has_no_mark_and_no_line(forest):
    hole = forest.assign(accuracy_frac=forest.accuracy_frac.where(forest.category == "Overall"))
    figure = plot_accuracy_forest(hole)
    assert np.isnan(figure.data[0].x[0])
    assert len(figure.layout.shapes) == 1


@pytest.mark.parametrize("plot", [plot_win_rates, plot_accuracy_forest])
def test_tables_that_cannot_be_drawn_are_refused(plot, rates, forest):
    table = rates if plot is plot_win_rates else forest
    with pytest.raises(ValueError, match="lacks the column"):
        plot(table.drop(columns="n"))
    with pytest.raises(ValueError, match="more than one row"):
        plot(pd.concat([table, table]))
