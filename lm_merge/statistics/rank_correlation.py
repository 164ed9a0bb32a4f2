"""Spearman's rank correlation with its interval."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import norm, rankdata, spearmanr

from lm_merge.statistics.intervals import jackknife_interval


@dataclass(frozen=True)
class RankCorrelation:
    """spearman in [-1, 1], low and high (95 %), p_value (two-sided) and n."""

    spearman: float
    low: float
    high: float
    p_value: float
    n: int


def rank_correlation(
    x: Float[ndarray, " n"], y: Float[ndarray, " n"], *, confidence: float = 0.95
) -> RankCorrelation:
    r"""Spearman's correlation of n independent pairs, with a normal interval on Fisher's scale.

    $\tanh(\operatorname{artanh} r \pm z \sqrt{(1 + r^2/2) / (n - 3)})$, Bonett and Wright (2000). At
    |r| = 1, where the scale ends, r is taken half a swap of neighbours lower. NaN but for n where one
    side is constant or a value undefined; the interval needs five pairs.
    """
    n, found = len(x), float(spearman(x, y))
    if math.isnan(found):
        return RankCorrelation(found, math.nan, math.nan, math.nan, n)
    low, high = math.nan, math.nan
    if n >= 5:
        most = 1 - 6 / (n * (n**2 - 1))
        middle = max(-most, min(most, found))
        half = float(norm.ppf((1 + confidence) / 2)) * math.sqrt((1 + middle**2 / 2) / (n - 3))
        low, high = (math.tanh(math.atanh(middle) + side) for side in (-half, half))
        low, high = min(low, found), max(high, found)
    return RankCorrelation(found, low, high, float(np.asarray(spearmanr(x, y))[1]), n)


def spearman(x: Float[ndarray, "*draws n"], y: Float[ndarray, "*draws n"]) -> ndarray:
    """Spearman's rank correlation along the last axis, [*draws], in [-1, 1].

    NaN where there are fewer than three values, one side is constant, or a value is undefined.
    """
    if x.shape[-1] < 3:
        return np.full(x.shape[:-1], np.nan)
    a, b = (rankdata(one, axis=-1) for one in (x, y))  # NaN where a value is undefined
    a, b = (one - one.mean(axis=-1, keepdims=True) for one in (a, b))
    scale = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    together = np.asarray((a * b).sum(axis=-1))
    return np.divide(together, scale, out=np.full(scale.shape, np.nan), where=scale > 0)


def clustered_rank_correlation(
    x: Float[ndarray, " n"],
    y: Float[ndarray, " n"],
    clusters: ndarray,
    *,
    confidence: float = 0.95,
) -> tuple[float, float, float]:
    """Spearman's correlation over all values, low and high; values of one label (text) are a cluster.

    The interval is the jackknife's over clusters, NaN for fewer than two.
    """
    without = [
        float(spearman(x[clusters != one], y[clusters != one])) for one in np.unique(clusters)
    ]
    found = float(spearman(x, y))
    low, high = jackknife_interval(
        found, np.array(without, dtype=float), correlation=True, confidence=confidence
    )
    return found, low, high
