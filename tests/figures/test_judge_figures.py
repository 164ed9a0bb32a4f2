import itertools
import math

import pandas as pd
import pytest

from figures import plot_judge_agreement, plot_judge_consistency

CATEGORIES = ("Knowledge", "Math", "Overall")
JUDGES = ("a small model with a name that is much too long", "a merge", "label")


@pytest.fixture
def judging() -> pd.DataFrame:
    keys = itertools.product(
        JUDGES[:2], ("official", "audited"), CATEGORIES, ("accuracy", "consistency", "order_gap")
    )
    return pd.DataFrame(
        {
            "judge": judge,
            "pairs": pairs,
            "category": category,
            "metric": metric,
            "value": math.nan if (category, metric) == ("Math", "consistency") else 0.25,
            "low": 0.1,
            "high": 0.5,
            "n": 31 if category == "Math" else 154,
        }
        for judge, pairs, category, metric in keys
    )


@pytest.fixture
def agreement() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "judge": one,
            "other": other,
            "value": 1.0 if one == other else 0.6,
            "low": 1.0 if one == other else 0.5,
            "high": 1.0 if one == other else 0.68,
            "n": 300,
            "kappa": 1.0 if one == other else 0.2,
        }
        for one, other in itertools.product(JUDGES, repeat=2)
    )


def test_consistency_has_a_trace_per_judge_and_panel_and_one_legend_entry_each(judging):
    figure = plot_judge_consistency(judging)
    assert [trace.name for trace in figure.data] == [JUDGES[0], JUDGES[0], JUDGES[1], JUDGES[1]]
    assert [trace.showlegend for trace in figure.data] == [True, False, True, False]
    assert figure.layout.xaxis2.title.text == "category"
    assert "(%)" in figure.layout.yaxis.title.text
    assert figure.layout.yaxis2.title.text == "order gap (%)"
    assert "n = 31–154 pairs" in figure.layout.title.subtitle.text
    gap = figure.data[1]
    assert list(gap.y) == [25.0] * 3
    assert list(gap.error_y.array) == [25.0] * 3
    assert list(gap.error_y.arrayminus) == [15.0] * 3


def test_agreement_is_a_square_matrix_in_percent_with_kappa(agreement):
    figure = plot_judge_agreement(agreement)
    (matrix,) = figure.data
    assert [len(row) for row in matrix.z] == [3, 3, 3]
    assert matrix.z[0][0] == 100.0
    cells = {(note.y, note.x): note.text for note in figure.layout.annotations}
    assert cells[0, 1] == "60<br>κ 0.20"
    assert (matrix.zmin, matrix.zmax) == (0, 100)
    names = figure.layout.xaxis.ticktext
    assert names[1:] == JUDGES[1:]
    assert "…" in names[0]
    assert len(names[0]) < len(JUDGES[0])


def test_undefined_agreement_leaves_an_empty_cell(agreement):
    agreement.loc[1, ["value", "low", "high", "kappa"]] = math.nan
    figure = plot_judge_agreement(agreement)
    (matrix,) = figure.data
    assert "" in {note.text for note in figure.layout.annotations}
    assert math.isnan(matrix.z[0][1])


def test_tables_that_repeat_a_row_are_refused(judging, agreement):
    with pytest.raises(ValueError, match="more than one row"):
        plot_judge_consistency(pd.concat([judging, judging]))
    with pytest.raises(ValueError, match="more than one row"):
        plot_judge_agreement(pd.concat([agreement, agreement]))
