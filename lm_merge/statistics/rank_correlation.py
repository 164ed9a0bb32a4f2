"""Spearman's rank correlation, for one sample or many at a time, and its bootstrap interval."""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import rankdata, spearmanr

N_RESAMPLES = 1000


def rank_correlation(
    pairs: Float[ndarray, "n 2"], generator: np.random.Generator, *, n_resamples: int = N_RESAMPLES
) -> dict[str, float]:
    """spearman in [-1, 1], low and high (95 %, bootstrap over rows), p_value, n.

    NaN but for n where there are fewer than three rows or one side is constant. Rows with an
    undefined value are for the caller to leave out.
    """
    x, y = pairs.T
    found, nan = float(spearman(x, y)), float("nan")
    if np.isnan(found):
        return {"spearman": nan, "low": nan, "high": nan, "p_value": nan, "n": len(pairs)}
    drawn = pairs[generator.integers(len(pairs), size=(n_resamples, len(pairs)))]
    low, high = percentile_interval(spearman(drawn[..., 0], drawn[..., 1]))
    tested: Any = spearmanr(x, y)
    return {
        "spearman": found,
        "low": low,
        "high": high,
        "p_value": float(tested.pvalue),
        "n": len(pairs),
    }


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


def percentile_interval(values: Float[ndarray, " draws"]) -> tuple[float, float]:
    """The middle 95 % of the draws that are defined; NaN where none is."""
    defined = values[np.isfinite(values)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [0.025, 0.975])
    return float(low), float(high)
