"""How often judges agree, on the same games."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd

from lm_merge.evaluation.judgebench.schema import JudgedPair
from lm_merge.evaluation.judges import Decision
from lm_merge.statistics.intervals import clustered_interval

LABEL = "label"  # the answer key among the judges: agreement with it is a judge's game accuracy


def agreement_table(judges: Mapping[str, Sequence[JudgedPair]]) -> pd.DataFrame:
    """One row an ordered pair of judges, the labels among them under the name "label".

    Columns: judge, other, value, low, high, n, kappa. value is the share in [0, 1] of games, in
    both orders, in which the two gave the same verdict, over the games in which both gave one; n
    counts these. kappa is Cohen's: (value - expected) / (1 - expected), with the agreement expected
    from how often either gives each verdict; NaN where that is 1. Intervals: 95 %, by question.
    Only pairs that all judges have judged count. Source: Cohen (1960).
    """
    if LABEL in judges:
        raise ValueError(f"{LABEL!r} is the name of the labels; call the judge otherwise")
    if not judges:
        raise ValueError("judges is empty; give the judged pairs of at least one")
    shared = set.intersection(*({pair.pair_id for pair in pairs} for pairs in judges.values()))
    if not shared:
        raise ValueError(f"no pair was judged by all of {', '.join(judges)}")
    by_judge = {
        name: sorted((p for p in pairs if p.pair_id in shared), key=lambda pair: pair.pair_id)
        for name, pairs in judges.items()
    }
    pairs = next(iter(by_judge.values()))
    questions = [pair.question for pair in pairs for _ in range(2)]
    decisions: dict[str, list[Decision | None]] = {
        name: [game.decision for pair in own for game in pair.judgments]
        for name, own in by_judge.items()
    }
    decisions[LABEL] = [one for pair in pairs for one in _labels(pair)]
    rows = [
        {"judge": one, "other": other} | _agreement(decisions[one], decisions[other], questions)
        for one, other in product(decisions, repeat=2)
    ]
    return pd.DataFrame(rows)


def _labels(pair: JudgedPair) -> tuple[Decision, Decision]:
    return ("A>B", "B>A") if pair.label == "A>B" else ("B>A", "A>B")


def _agreement(
    one: Sequence[Decision | None],
    other: Sequence[Decision | None],
    questions: Sequence[str],
) -> dict[str, float | int]:
    same = np.array(
        [np.nan if None in (a, b) else float(a == b) for a, b in zip(one, other, strict=True)]
    )
    defined = ~np.isnan(same)
    n = int(defined.sum())
    if not n:
        return {"value": np.nan, "low": np.nan, "high": np.nan, "n": 0, "kappa": np.nan}
    low, high = clustered_interval(same, questions, bounds=(0.0, 1.0))
    value = float(same[defined].mean())
    shares = [
        pd.Series([d for d, known in zip(given, defined, strict=True) if known]).value_counts() / n
        for given in (one, other)
    ]
    expected = float(shares[0].mul(shares[1], fill_value=0.0).sum())
    kappa = (value - expected) / (1 - expected) if expected < 1 else np.nan
    return {"value": value, "low": low, "high": high, "n": n, "kappa": kappa}
