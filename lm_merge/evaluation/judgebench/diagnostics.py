"""What a judge did beyond its accuracy: consistency, favour for a side, missing verdicts."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from lm_merge.evaluation.judgebench.accuracy import is_correct
from lm_merge.evaluation.judgebench.audit import audited
from lm_merge.evaluation.judgebench.schema import CATEGORIES, JudgedPair
from lm_merge.evaluation.judges import Decision, decision_value, flipped
from lm_merge.statistics.intervals import clustered_interval, worst_case_half_width

Values = list[float]  # one for each unit that a pair holds; NaN where a unit defines none


def _decisions(pair: JudgedPair) -> list[Decision | None]:
    return [judgment.decision for judgment in pair.judgments]


def _accuracy(pair: JudgedPair) -> Values:
    return [float(is_correct(pair))]


def _consistency(pair: JudgedPair) -> Values:
    """1 where both orders give the same verdict, 0 where not; NaN where either gave none."""
    first, second = _decisions(pair)
    return [np.nan if None in (first, second) else float(first == flipped(second))]


def _order_gap(pair: JudgedPair) -> Values:
    """Mean worth of being shown first, -1 .. 1: 1 where the response shown first won both games."""
    return [float(np.mean([decision_value(one) for one in _decisions(pair)]))]


def _slot_a(pair: JudgedPair) -> Values:
    """Whether each decided game went to the response shown first."""
    return [float(one == "A>B") if one in ("A>B", "B>A") else np.nan for one in _decisions(pair)]


def _none(pair: JudgedPair) -> Values:
    return [float(one is None) for one in _decisions(pair)]


def _tie(pair: JudgedPair) -> Values:
    return [float(one == "A=B") for one in _decisions(pair)]


# metric -> what it counts, and the values of a pair; the metric is the mean of all that is defined
METRICS: dict[str, tuple[str, Callable[[JudgedPair], Values]]] = {
    "accuracy": ("pairs", _accuracy),
    "consistency": ("pairs", _consistency),
    "order_gap": ("pairs", _order_gap),
    "slot_a_rate": ("games", _slot_a),
    "none_rate": ("games", _none),
    "tie_rate": ("games", _tie),
}


def judging_table(pairs: Sequence[JudgedPair]) -> pd.DataFrame:
    """One row a judge, set ("official", "audited"), category and metric, and "Overall".

    Columns: judge, pairs, category, metric, value, low, high, n, unit, n_questions, worst_case. All
    values are shares in [0, 1], `order_gap` in [-1, 1]; low and high are 95 % intervals
    by question; n counts the units (pairs, or games: two a pair) that define the value; worst_case
    is the half-width that a 95 % interval of a share of n_questions has at most. `slot_a_rate` is of
    decided games, 1/2 for a judge that ignores order. "audited" leaves out the pairs of which both
    responses end in the same answer (see `audit`).
    """
    rows = []
    for name, kept in (("official", list(pairs)), ("audited", audited(pairs))):
        for category in (*CATEGORIES, "Overall"):
            of_category = [pair for pair in kept if category in (pair.category, "Overall")]
            if of_category:
                rows += _rows(of_category, name, category)
    return pd.DataFrame(rows)


def _bounds(metric: str) -> tuple[float, float]:
    return (-1.0, 1.0) if metric == "order_gap" else (0.0, 1.0)


def _rows(pairs: Sequence[JudgedPair], name: str, category: str) -> list[dict]:
    rows = []
    for metric, (unit, values_of) in METRICS.items():
        by_pair = [values_of(pair) for pair in pairs]
        values = np.array([value for own in by_pair for value in own], dtype=float)
        questions = [pair.question for pair, own in zip(pairs, by_pair, strict=True) for _ in own]
        defined = ~np.isnan(values)
        n = int(defined.sum())
        n_questions = len({q for q, known in zip(questions, defined, strict=True) if known})
        low, high = clustered_interval(values, questions, bounds=_bounds(metric))
        rows.append(
            {
                "judge": pairs[0].judge_name,
                "pairs": name,
                "category": category,
                "metric": metric,
                "value": float(values[defined].mean()) if n else np.nan,
                "low": low,
                "high": high,
                "n": n,
                "unit": unit,
                "n_questions": n_questions,
                "worst_case": worst_case_half_width(n_questions),
            }
        )
    return rows
