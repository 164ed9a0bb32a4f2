"""Paired tests: two systems on the same items (questions, targets)."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.stats import binomtest, ttest_1samp, wilcoxon

from lm_merge.statistics.bootstrap import bca_interval

MAX_EXACT = 12  # pairs up to which all 2^n patterns of signs are gone through
N_DRAWN = 10_000
ROUNDING = 1e-12  # relative: sums of the same values in another order count as equal


@dataclass(frozen=True)
class McNemar:
    """Questions that only one of two systems answers rightly, and the exact two-sided p-value."""

    n_only_first: int
    n_only_second: int
    p_value: float


def mcnemar_exact(
    first_right: Bool[ndarray, " questions"], second_right: Bool[ndarray, " questions"]
) -> McNemar:
    """McNemar's exact test: are the discordant questions split evenly?

    Binomial test of the discordant count at 1/2; p = 1 where no question is discordant. One entry a
    distinct question: repeated questions are not independent. Being exact for a discrete count, it
    rejects a true null less often than its level. Source: McNemar (1947).
    """
    if len(first_right) != len(second_right):
        raise ValueError(
            f"{len(first_right)} and {len(second_right)} answers; give both systems' to every question"
        )
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    n = only_first + only_second
    p_value = float(binomtest(only_first, n).pvalue) if n else 1.0
    return McNemar(only_first, only_second, p_value)


@dataclass(frozen=True)
class PairedDifference:
    """Differences of two systems, item by item, summed up; undefined items are left out of n.

    mean, with low and high (BCa), in the differences' unit; d_z = mean / standard deviation of the
    differences; p-values, two-sided, of the t test, the sign-flip permutation test, and Wilcoxon's
    signed-rank test. NaN for fewer than two items; intervals and tests are undefined, too, where all
    differences are equal up to rounding, except the permutation test and Wilcoxon's.
    """

    mean: float
    low: float
    high: float
    d_z: float
    p_t: float
    p_permutation: float
    p_wilcoxon: float
    n: int


def paired_difference(
    differences: Float[ndarray, " items"], *, confidence: float = 0.95, seed: int = 0
) -> PairedDifference:
    """Everything about a paired contrast. differences: one an item, NaN where it is undefined.

    An item that was measured several times (several moments, seeds) enters once, as its mean.
    """
    kept = differences[np.isfinite(differences)]
    n, nan = len(kept), math.nan
    if n < 2:
        mean = float(kept.mean()) if n else nan
        return PairedDifference(mean, nan, nan, nan, nan, nan, nan, n)
    varies = float(np.ptp(kept)) > ROUNDING * float(np.abs(kept).max())
    low, high = bca_interval(kept, confidence=confidence, seed=seed) if varies else (nan, nan)
    spread = float(kept.std(ddof=1))
    nonzero = kept[kept != 0]
    return PairedDifference(
        mean=float(kept.mean()),
        low=low,
        high=high,
        d_z=float(kept.mean()) / spread if varies else nan,
        p_t=float(np.asarray(ttest_1samp(kept, 0.0))[1]) if varies else nan,
        p_permutation=sign_flip_test(kept, seed=seed),
        p_wilcoxon=float(np.asarray(wilcoxon(nonzero))[1]) if len(nonzero) else nan,
        n=n,
    )


def sign_flip_test(differences: Float[ndarray, " items"], *, seed: int = 0) -> float:
    """Two-sided p-value of the sign-flip permutation test of mean 0, in (0, 1]; NaN without items.

    Under the null each difference is as likely with either sign. Exact over all patterns up to 2^12;
    else b of B = 10,000 drawn ones are at least as extreme and p = (1 + b) / (1 + B), which is valid,
    too (Phipson and Smyth 2010).
    """
    n = len(differences)
    if n == 0 or not np.isfinite(differences).all():
        return math.nan
    observed = abs(float(differences.sum())) * (1 - ROUNDING)
    if n <= MAX_EXACT:
        bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
        return float((np.abs((1 - 2 * bits) @ differences) >= observed).mean())
    rng = np.random.default_rng(seed)
    signs = 1 - 2 * rng.integers(0, 2, size=(N_DRAWN, n), dtype=np.int8)
    extreme = int((np.abs(signs @ differences) >= observed).sum())
    return (1 + extreme) / (1 + N_DRAWN)
