"""Times until something happens, some of which are cut off before it does (censored)."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import stats

from lm_merge.statistics.intervals import jackknife_interval


@dataclass(frozen=True)
class SurvivalCurve:
    """P(time > t) just after each time t at which something happened, with low and high, in [0, 1].

    n_at_risk: items that had neither happened nor been cut off just before t.
    """

    times: Float[ndarray, " steps"]
    survival: Float[ndarray, " steps"]
    low: Float[ndarray, " steps"]
    high: Float[ndarray, " steps"]
    n_at_risk: Float[ndarray, " steps"]


def kaplan_meier(
    times: Float[ndarray, " items"],
    happened: Bool[ndarray, " items"],
    *,
    confidence: float = 0.95,
) -> SurvivalCurve:
    """The Kaplan-Meier estimate with its log-log band, pointwise.

    times: not negative; of an item that did not happen, the time until which it was watched. The band
    is (NaN, NaN) where the estimate is 0 or 1. Raises ValueError without items, or for times that are
    negative or undefined. Source: `scipy.stats.ecdf` on `CensoredData`.
    """
    _check(times, happened)
    data = stats.CensoredData.right_censored(times, ~happened)
    survival = stats.ecdf(data).sf
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.filterwarnings("ignore", message="The confidence interval is undefined")
        band = survival.confidence_interval(confidence, method="log-log")
    places = np.isin(survival.quantiles, times[happened])
    at_risk = (times[None, :] >= survival.quantiles[places][:, None]).sum(axis=1).astype(float)
    return SurvivalCurve(
        survival.quantiles[places],
        survival.probabilities[places],
        band.low.probabilities[places],
        band.high.probabilities[places],
        at_risk,
    )


@dataclass(frozen=True)
class RestrictedMean:
    """Mean of min(time, horizon) in the times' unit with low and high; n items."""

    value: float
    low: float
    high: float
    n: int


def restricted_mean(
    times: Float[ndarray, " items"],
    happened: Bool[ndarray, " items"],
    horizon: float,
    *,
    confidence: float = 0.95,
) -> RestrictedMean:
    """Restricted mean survival time: the area under the Kaplan-Meier curve from 0 to the horizon.

    Without censoring before the horizon it is the mean of min(time, horizon). The interval is that of
    the jackknife over items, NaN for fewer than two. One entry an item: average what several runs
    of one item gave before. NaN where the curve ends, censored, before the horizon: what lies behind
    its end is not known. Source: Irwin (1949); Royston and Parmar (2013).
    """
    _check(times, happened)
    if not (math.isfinite(horizon) and horizon > 0):
        raise ValueError(f"horizon={horizon}: give a finite time above 0")
    value = _area(times, happened, horizon)
    everyone = np.arange(len(times))
    without = np.array(
        [_area(times[everyone != one], happened[everyone != one], horizon) for one in everyone]
    )
    low, high = jackknife_interval(value, without, confidence=confidence)
    return RestrictedMean(value, max(0.0, low), min(horizon, high), len(times))


def logrank_test(
    times: Float[ndarray, " items"],
    happened: Bool[ndarray, " items"],
    other_times: Float[ndarray, " others"],
    other_happened: Bool[ndarray, " others"],
) -> float:
    """Two-sided p-value that two groups of *different* items have one survival curve (log-rank).

    For the same items under two systems use `paired_difference` of the restricted times. NaN where
    nothing happened in either group. Source: Mantel (1966), as computed by `scipy.stats.logrank`.
    """
    _check(times, happened)
    _check(other_times, other_happened)
    if not (happened.any() or other_happened.any()):
        return math.nan
    one = stats.CensoredData.right_censored(times, ~happened)
    other = stats.CensoredData.right_censored(other_times, ~other_happened)
    return float(stats.logrank(one, other).pvalue)


def _area(times: ndarray, happened: ndarray, horizon: float) -> float:
    """Area under the curve from 0 to the horizon."""
    if len(times) == 0:
        return math.nan
    survival, area, before = 1.0, 0.0, 0.0
    for time in np.unique(times[happened & (times < horizon)]):
        area += survival * (float(time) - before)
        at_risk = int((times >= time).sum())
        survival *= 1 - int((happened & (times == time)).sum()) / at_risk
        before = float(time)
    if survival > 0 and times.max() < horizon:
        return math.nan
    return area + survival * (horizon - before)


def _check(times: ndarray, happened: ndarray) -> None:
    if len(times) == 0 or len(times) != len(happened):
        raise ValueError(f"{len(times)} times and {len(happened)} marks: give one mark a time")
    if not np.isfinite(times).all() or times.min() < 0:
        raise ValueError("times are finite and not negative; give a censored item its last time")
