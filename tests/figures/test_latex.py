"""LaTeX tables: booktabs rules, escaped text, values with intervals."""

import pandas as pd
import pytest

from figures import interval_table, latex_table

ACCURACY = pd.DataFrame(
    {
        "system": ["host", "host", "merged_a", "merged_a"],
        "category": ["Math", "Coding", "Math", "Coding"],
        "accuracy_frac": [0.5, 0.25, 0.75, float("nan")],
        "low": [0.4, 0.2, 0.7, float("nan")],
        "high": [0.6, 0.3, 0.8, float("nan")],
    }
)


def spread() -> pd.DataFrame:
    return interval_table(
        ACCURACY,
        rows=["system"],
        columns="category",
        value="accuracy_frac",
        low="low",
        high="high",
        scale=100,
    )


def test_spread_table_keeps_the_order_of_appearance() -> None:
    wide = spread()
    assert list(wide.columns) == ["system", "Math", "Coding"]
    assert list(wide.system) == ["host", "merged_a"]
    assert wide.Math.tolist() == ["50.0 [40.0, 60.0]", "75.0 [70.0, 80.0]"]
    assert wide.Coding.tolist() == ["25.0 [20.0, 30.0]", ""]


def test_two_rows_for_one_cell_are_refused() -> None:
    with pytest.raises(ValueError, match="more than one row for system='host', category='Math'"):
        interval_table(
            pd.concat([ACCURACY, ACCURACY.head(1)]),
            rows=["system"],
            columns="category",
            value="accuracy_frac",
            low="low",
            high="high",
        )


def test_latex_has_booktabs_rules_and_escapes_text() -> None:
    text = latex_table(spread(), caption="Accuracy in %, 50_50", label="tab:accuracy")
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1
    assert r"\caption{Accuracy in \%, 50\_50}" in text
    assert r"merged\_a & 75.0 [70.0, 80.0] & " in text
    assert text.count(r"\\") == 3  # a header and two lines


def test_numbers_stand_to_the_right_with_three_decimals() -> None:
    text = latex_table(pd.DataFrame({"a_b": ["x"], "value": [1 / 3]}), caption="c", label="l")
    assert r"\begin{tabular}{lr}" in text
    assert r"a\_b & value" in text
    assert "0.333" in text
