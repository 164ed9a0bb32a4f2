"""Intervals for shares, and for means over questions that may come more than once."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import binomtest, norm, t

NAN_INTERVAL = (math.nan, math.nan)


def wilson_interval(n_right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share n_right / n, both ends in [0, 1]; (0, 1) for n = 0.

    The n answers are independent; where a question comes more than once use `clustered_interval`.
    Source: Wilson (1927), as computed by scipy.

    >>> low, high = wilson_interval(8, 10)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    """
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(n_right, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def student_interval(
    value: float, standard_error: float, degrees_of_freedom: float | int, confidence: float = 0.95
) -> tuple[float, float]:
    """value ± t x standard error, in the value's unit; NaN without positive degrees of freedom.

    >>> low, high = student_interval(1.0, 0.1, 3)
    >>> round(low, 3), round(high, 3)
    (0.682, 1.318)
    """
    if not degrees_of_freedom > 0 or math.isnan(standard_error):
        return NAN_INTERVAL
    half = float(t.ppf((1 + confidence) / 2, degrees_of_freedom)) * standard_error
    return value - half, value + half


def clustered_interval(
    values: Float[ndarray, " n"],
    clusters: Sequence[str],
    *,
    bounds: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> tuple[float, float]:
    r"""Interval of the mean of `values`, in their unit, with values of one label as one cluster.

    clusters: one label a value, for example the question. NaN values are left out, and with them the
    clusters that have nothing else. For a difference of two systems pass their differences value by
    value: then the interval is a paired one. (NaN, NaN) for fewer than two clusters.

    Without bounds: the mean ± Student's t x the standard error of the ratio estimator (Cochran 1977,
    section 9A.1), with $(\sum n_c)^2 / \sum n_c^2 - 1$ degrees of freedom. bounds, where no value can
    lie outside ((0, 1) for shares and scores, (-1, 1) for their differences): Wilson's interval at the
    effective sample size p (1 - p) / SE^2, with the same t, inside the bounds (Korn and Graubard 1998,
    with Wilson's interval for Clopper and Pearson's). Where all values are equal nothing is known of
    their spread, and each cluster counts as one answer.

    >>> import numpy as np
    >>> values = np.array([1.0, 1.0, 0.0, 1.0])
    >>> low, high = clustered_interval(values, ["a", "a", "b", "c"], bounds=(0.0, 1.0))
    >>> low < 0.75 < high
    True
    """
    if len(values) != len(clusters):
        raise ValueError(
            f"{len(values)} values and {len(clusters)} clusters: give one label a value"
        )
    defined = ~np.isnan(values)
    kept = values[defined]
    labels = np.asarray(clusters, dtype=object)[defined].astype(str)
    names, places = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        return NAN_INTERVAL
    counts = np.bincount(places).astype(float)
    n, mean = float(counts.sum()), float(kept.mean())
    rest = np.bincount(places, weights=kept) - mean * counts
    error = math.sqrt(len(names) / (len(names) - 1) * (rest**2).sum()) / n
    n_effective = n**2 / float((counts**2).sum())
    if bounds is None:
        return student_interval(mean, error, n_effective - 1, confidence)
    return _inside(mean, error, n_effective, bounds, (kept.min(), kept.max()), confidence)


def _inside(
    mean: float,
    error: float,
    n_effective: float,
    bounds: tuple[float, float],
    extremes: tuple[float, float],
    confidence: float,
) -> tuple[float, float]:
    """Wilson's interval for a mean in [low, high] whose standard error is known."""
    low, high = bounds
    if extremes[0] < low or extremes[1] > high:
        raise ValueError(
            f"values from {extremes[0]:g} to {extremes[1]:g} lie outside bounds={bounds}: give the "
            "bounds that no value can leave, or none"
        )
    width = high - low
    p, spread = (mean - low) / width, error / width
    no_spread = extremes[0] == extremes[1]
    n = n_effective if no_spread or spread == 0 else p * (1 - p) / spread**2
    quantile = float(t.ppf((1 + confidence) / 2, n_effective - 1))
    center = (p + quantile**2 / (2 * n)) / (1 + quantile**2 / n)
    half = quantile * math.sqrt(p * (1 - p) / n + (quantile / (2 * n)) ** 2) / (1 + quantile**2 / n)
    return low + width * max(0.0, center - half), low + width * min(1.0, center + half)


def worst_case_half_width(n: int, confidence: float = 0.95) -> float:
    """Half-width of a normal interval for a share of n at its widest, at 1/2; as a share.

    z / (2 sqrt(n)): 0.060 at n = 270 and 0.176 at n = 31. NaN for n = 0.

    >>> round(worst_case_half_width(270), 3)
    0.06
    """
    if n == 0:
        return math.nan
    return float(norm.ppf((1 + confidence) / 2)) / (2 * math.sqrt(n))


def difference_interval(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float]:
    """Interval of first less second from the value, low and high of each, independent of each other.

    Each side is the root of the sum of the squared sides of both (Zou and Donner 2008), so that limits
    of few clusters count as what they are. For two systems on the same items it is too wide, if
    anything: use their paired differences where they are at hand.
    """
    (one, one_low, one_high), (other, other_low, other_high) = first, second
    gap = one - other
    return gap - math.hypot(one - one_low, other_high - other), gap + math.hypot(
        one_high - one, other - other_low
    )


def jackknife_interval(
    value: float,
    without_each: Float[ndarray, " clusters"],
    *,
    correlation: bool = False,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Interval of any smooth statistic from its values without each cluster (text, question) in turn.

    Student's t with C - 1 degrees of freedom and the jackknife's standard error. correlation: on the
    scale of Fisher's z, and back, so that the ends lie in [-1, 1]; NaN where one of them is 1 or -1. NaN
    where the value, or one of `without_each`, is undefined, and for fewer than two clusters.
    Source: Efron and Tibshirani (1993), chapter 11.
    """
    n = len(without_each)
    if n < 2 or not np.isfinite([value, *without_each]).all():
        return NAN_INTERVAL
    if correlation:
        if max(abs(value), float(np.abs(without_each).max())) >= 1:
            return NAN_INTERVAL  # Fisher's z has no value at 1
        value, without_each = math.atanh(value), np.arctanh(without_each)
    error = math.sqrt((n - 1) / n * ((without_each - without_each.mean()) ** 2).sum())
    low, high = student_interval(value, error, n - 1, confidence)
    return (math.tanh(low), math.tanh(high)) if correlation else (low, high)
