"""How much of an expert's gain over the base a merge keeps: recovery, with paired intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lm_merge.evaluation.tasks.metrics import Metric
from lm_merge.evaluation.tasks.scores import TaskScore
from lm_merge.statistics.bootstrap import bca_interval
from lm_merge.statistics.intervals import clustered_interval

SMALLEST_GAIN = 1e-8


@dataclass(frozen=True)
class Gain:
    """A difference of two systems' metrics, positive where the first is better; low, high: 95 %."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Recovery:
    """Recovery of a merge on one task, and the two gains that it is the ratio of.

    value: 0 the base, 1 the expert, below 0 damage, above 1 better than the expert; NaN with a `reason`
    where the expert is no better than the base (by 1e-8). low, high: 95 % over examples; NaN, with a
    `reason`, where the interval of the expert's gain contains 0.
    """

    task: str
    value: float
    low: float
    high: float
    merged_gain: Gain
    expert_gain: Gain
    n: int
    reason: str | None = None


def recovery(
    merged: TaskScore,
    base: TaskScore,
    expert: TaskScore,
    *,
    confidence: float = 0.95,
    n_resamples: int = 9999,
) -> Recovery:
    r"""Recovery $\rho = (q_{merged} - q_{base}) / (q_{expert} - q_{base})$ of one task.

    q is the task's metric, negated where lower is better. Intervals draw whole examples, the same for
    all three systems (BCa). Raises ValueError for scores of different tasks, splits, subsets, examples
    or settings of the replies.
    """
    _check_comparable(merged, base, expert)
    interval = partial(bca_interval, confidence=confidence, n_resamples=n_resamples)
    merged_gain, expert_gain = (_gain(one, base, interval) for one in (merged, expert))
    found = partial(
        Recovery, merged.task, merged_gain=merged_gain, expert_gain=expert_gain, n=merged.n
    )
    undefined = partial(found, value=math.nan, low=math.nan, high=math.nan)
    if math.isnan(expert_gain.value) or math.isnan(merged_gain.value):
        return undefined(reason=f"{merged.metric.name} is undefined for some of the replies")
    if expert_gain.value < SMALLEST_GAIN:
        return undefined(reason=f"the expert {expert.system!r} is no better than the base")
    value = merged_gain.value / expert_gain.value
    if not expert_gain.excludes_zero:
        reason = f"the interval of the gain of {expert.system!r} does not exclude 0"
        return found(value=value, low=math.nan, high=math.nan, reason=reason)
    samples = [*merged.columns, *base.columns, *expert.columns]
    low, high = interval(samples, partial(_ratio, merged.metric))
    return found(value=value, low=low, high=high)


def quality(metric: Metric, columns: Sequence[ndarray], axis: int = -1) -> ndarray:
    """The metric, negated where lower is better."""
    value = metric.value(*columns, axis=axis)
    return np.asarray(value if metric.higher_is_better else -value)


def _gain(score: TaskScore, base: TaskScore, interval: partial) -> Gain:
    value = float(quality(score.metric, score.columns) - quality(base.metric, base.columns))
    low, high = interval([*score.columns, *base.columns], partial(_difference, score.metric))
    if math.isnan(low) and score.metric.is_share:  # all examples alike: a bootstrap knows no spread
        differences = score.columns[0] - base.columns[0]
        labels = [str(place) for place in range(score.n)]
        low, high = clustered_interval(differences, labels, bounds=(-1.0, 1.0))
    return Gain(value, low, high)


def _difference(metric: Metric, *columns: Float[ndarray, "*draws n"], axis: int = -1) -> ndarray:
    half = len(columns) // 2
    return np.asarray(quality(metric, columns[:half], axis) - quality(metric, columns[half:], axis))


def _ratio(metric: Metric, *columns: Float[ndarray, "*draws n"], axis: int = -1) -> ndarray:
    third = len(columns) // 3
    merged, base, expert = (
        quality(metric, columns[start : start + third], axis)
        for start in range(0, len(columns), third)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((merged - base) / (expert - base))


def _check_comparable(merged: TaskScore, *others: TaskScore) -> None:
    for other in others:
        ours = {"task": merged.task, "metric": merged.metric.name, **merged.settings}
        theirs = {"task": other.task, "metric": other.metric.name, **other.settings}
        if ours != theirs:
            keys = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
            words = [f"{key} {ours.get(key)!r} and {theirs.get(key)!r}" for key in keys]
            raise ValueError(
                f"{merged.system!r} and {other.system!r} were scored differently: {', '.join(words)}; "
                "recovery compares scores of the same examples only"
            )
