"""Rates from pairwise judgments in both orders, all from one system's point of view.

A verdict is +1 (won), 0 (tie), -1 (lost) or NaN (the judge named no winner). `first` holds the
verdicts in which the system's answer stood first, `second` those in which it stood second, each
already turned to the system's side; entry i of both is the same pair of answers.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lm_merge.statistics.length_control import rate_at_equal_length


def pair_scores(
    first: Float[ndarray, " pairs"], second: Float[ndarray, " pairs"]
) -> Float[ndarray, " pairs"]:
    """u = 1/2 + (v1 + v2) / 4, in [0, 1]: 1 where both orders are won, 1/2 for ties and splits.

    A missing verdict counts as a tie, so that no pair is dropped. The mean of u is the win rate.
    """
    _check(first, second)
    return 0.5 + (np.nan_to_num(first) + np.nan_to_num(second)) / 4


def strict_outcomes(
    first: Float[ndarray, " pairs"], second: Float[ndarray, " pairs"]
) -> Float[ndarray, " pairs"]:
    """+1 where both orders are won, -1 where both are lost, 0 for all else."""
    _check(first, second)
    return np.where((first == 1) & (second == 1), 1.0, 0.0) - np.where(
        (first == -1) & (second == -1), 1.0, 0.0
    )


def order_gap(first: Float[ndarray, " pairs"], second: Float[ndarray, " pairs"]) -> float:
    """Win rate when standing first less win rate when standing second, in [-1, 1].

    mean(v1 - v2) / 2, ties and missing verdicts as 0. Positive: the judge favours what it reads
    first. 0 for a judge that ignores order; NaN without pairs.
    """
    _check(first, second)
    return _mean((np.nan_to_num(first) - np.nan_to_num(second)) / 2)


def none_rate(first: Float[ndarray, " pairs"], second: Float[ndarray, " pairs"]) -> float:
    """Share of all verdicts, both orders, in which no winner or tie was named; NaN without pairs."""
    _check(first, second)
    return _mean(np.isnan(np.concatenate([first, second])).astype(float))


def decided_only_rate(first: Float[ndarray, " pairs"], second: Float[ndarray, " pairs"]) -> float:
    """The published estimator: mean over the two orders of wins / (wins + losses), in [0, 1].

    It drops ties and missing verdicts, and it does not ask whether the two orders agree, so a judge
    that always names the first answer gets 1/2 here whatever the systems do. Shown next to the other
    rates for comparison only. NaN where an order has no decided verdict.
    """
    _check(first, second)
    return float(np.mean([_decided(first), _decided(second)]))


@dataclass(frozen=True)
class PairwiseSummary:
    """Every rate of one comparison; n pairs, each judged in both orders.

    win_rate: mean u. win_frac, tie_frac, loss_frac: strict, both orders agree; they sum to 1.
    length_controlled_rate: `rate_at_equal_length`; NaN where no lengths were given.
    """

    n: int
    win_rate: float
    win_frac: float
    tie_frac: float
    loss_frac: float
    order_gap: float
    none_frac: float
    decided_only_rate: float
    length_controlled_rate: float


def summarise(
    first: Float[ndarray, " pairs"],
    second: Float[ndarray, " pairs"],
    length_difference: Float[ndarray, " pairs"] | None = None,
) -> PairwiseSummary:
    """All rates of a comparison. length_difference: length of the system's answer less the other's."""
    scores, outcomes = pair_scores(first, second), strict_outcomes(first, second)
    controlled = (
        float("nan")
        if length_difference is None
        else rate_at_equal_length(scores, length_difference)
    )
    return PairwiseSummary(
        n=len(scores),
        win_rate=_mean(scores),
        win_frac=_mean((outcomes == 1).astype(float)),
        tie_frac=_mean((outcomes == 0).astype(float)),
        loss_frac=_mean((outcomes == -1).astype(float)),
        order_gap=order_gap(first, second),
        none_frac=none_rate(first, second),
        decided_only_rate=decided_only_rate(first, second),
        length_controlled_rate=controlled,
    )


def verdicts_by_key(
    right: Float[ndarray, " pairs"], other_right: Float[ndarray, " pairs"]
) -> Float[ndarray, " pairs"]:
    """Verdicts of an answer key: right (1) beats wrong (0); both right and both wrong are ties.

    The same in either order. The win rate is then 1/2 + (accuracy - other accuracy) / 2.
    """
    _check(right, other_right)
    return right - other_right


def _decided(verdicts: ndarray) -> float:
    wins, losses = int((verdicts == 1).sum()), int((verdicts == -1).sum())
    return wins / (wins + losses) if wins + losses else float("nan")


def _mean(values: ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _check(first: ndarray, second: ndarray) -> None:
    if len(first) != len(second):
        raise ValueError(
            f"first has {len(first)} entries and second {len(second)}; give both for every pair"
        )
    allowed = np.isnan(first) | np.isin(first, (-1, 0, 1))
    allowed &= np.isnan(second) | np.isin(second, (-1, 0, 1))
    if not allowed.all():
        raise ValueError("a verdict is one of -1, 0, 1, NaN")
