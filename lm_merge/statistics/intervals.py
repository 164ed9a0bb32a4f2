"""Intervals for shares and for means over questions that may come more than once."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import binomtest, bootstrap, norm

NORMAL_95 = 1.96  # standard errors on each side of a mean that hold 95 % of a normal distribution


def wilson_interval(n_right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share n_right / n, both ends in [0, 1]; (0, 1) for n = 0.

    Source: Wilson (1927), as computed by scipy.

    >>> low, high = wilson_interval(8, 10)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    """
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(n_right, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def clustered_interval(
    values: Float[np.ndarray, " n"],
    clusters: Sequence[str],
    *,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values`, whole clusters drawn at a time.

    clusters: one label a value; values of one label (the same question) are drawn together. NaN
    values are left out, and with them the clusters that hold nothing else. For a difference of two
    systems pass their differences value by value: then the interval is a paired one.
    Unit and range are those of the values. Equal values give an interval without width, which says
    nothing of what was not seen: print `worst_case_half_width` beside it. (NaN, NaN) where fewer
    than two clusters define a value.
    Source: Efron and Tibshirani (1993), chapters 8 and 13; scipy's bootstrap over clusters.

    >>> import numpy as np
    >>> values = np.array([1.0, 1.0, 0.0, 1.0])
    >>> low, high = clustered_interval(values, ["a", "a", "b", "c"])
    >>> low < 0.75 < high
    True
    """
    if len(values) != len(clusters):
        raise ValueError(
            f"{len(values)} values and {len(clusters)} clusters: give one label a value"
        )
    defined = ~np.isnan(values)
    kept = np.asarray(clusters, dtype=object)[defined]
    labels, places = np.unique(kept.astype(str), return_inverse=True)
    if len(labels) < 2:
        return math.nan, math.nan
    sums = np.bincount(places, weights=values[defined])
    counts = np.bincount(places).astype(float)
    result = bootstrap(
        (sums, counts),
        _ratio,
        paired=True,
        vectorized=True,
        n_resamples=n_resamples,
        batch=max(1, 2_000_000 // len(labels)),  # draws at a time: memory stays near 32 MB
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def worst_case_half_width(n: int, confidence: float = 0.95) -> float:
    """Half-width of a normal interval for a share of n at its widest, at 1/2; as a share.

    z / (2 sqrt(n)): 0.060 at n = 270 and 0.176 at n = 31. NaN for n = 0.

    >>> round(worst_case_half_width(270), 3)
    0.06
    """
    if n == 0:
        return math.nan
    return float(norm.ppf((1 + confidence) / 2)) / (2 * math.sqrt(n))


def _ratio(sums: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
    return sums.sum(axis=axis) / counts.sum(axis=axis)
