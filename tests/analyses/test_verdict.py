"""Who is ahead, in a sentence: only where the paired interval and McNemar's test agree."""

import pandas as pd
import pytest

from analyses.comparison import analysis as comparison


@pytest.mark.parametrize(
    ("low", "high", "p_value", "verdict"),
    [
        (0.01, 0.08, 0.02, "beats"),
        (0.01, 0.08, 0.07, "does not clearly differ from"),
        (-0.08, -0.01, 0.02, "loses to"),
        (-0.01, 0.08, 0.02, "does not clearly differ from"),
        (0.01, 0.08, float("nan"), "beats"),
    ],
)
def test_the_verdict_needs_interval_and_test(low, high, p_value, verdict):
    row = pd.Series(
        {
            "system": "one",
            "opponent": "other",
            "accuracy_difference": (low + high) / 2,
            "difference_low": low,
            "difference_high": high,
            "win_rate": 0.5,
            "low": 0.4,
            "high": 0.6,
            "judge": "answer key",
            "judge_accuracy_pct": float("nan"),
            "mcnemar_p": p_value,
            "n_questions": 80,
        }
    )
    sentence = comparison._sentence(row)
    assert sentence.startswith(f"one {verdict} other")
    agree = (low > 0 or high < 0) == (p_value < 0.05)
    assert ("(interval and test disagree)" in sentence) != (agree or p_value != p_value)
