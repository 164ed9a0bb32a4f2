"""Equivalence: a difference shown to be small, which is more than not shown to exist."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import t

from lm_merge.statistics.intervals import student_interval


@dataclass(frozen=True)
class Equivalence:
    """Mean difference with its 1 - 2 level interval, the larger of both one-sided p-values, and n.

    equivalent: whether the whole interval lies inside the margin; None where it is undefined.
    """

    mean: float
    low: float
    high: float
    p_value: float
    equivalent: bool | None
    n: int


def equivalence_test(
    differences: Float[ndarray, " items"], margin: float, *, level: float = 0.05
) -> Equivalence:
    """Two one-sided t tests (TOST) that the mean difference lies strictly within ± margin.

    differences: one an item, paired; NaN where undefined, left out of n. margin: in their unit, above
    0, to be fixed before the data are seen. The chance to call equivalent what is not is at most
    `level`. Undefined for fewer than two items. Source: Schuirmann (1987).
    """
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"margin={margin}: give a finite number above 0, in the differences' unit")
    if not 0 < level < 0.5:
        raise ValueError(f"level={level} is outside (0, 0.5)")
    kept = differences[np.isfinite(differences)]
    n = len(kept)
    mean = float(kept.mean()) if n else math.nan
    if n < 2:
        return Equivalence(mean, math.nan, math.nan, math.nan, None, n)
    error = float(kept.std(ddof=1)) / math.sqrt(n)
    low, high = student_interval(mean, error, n - 1, 1 - 2 * level)
    room = margin - abs(mean)
    if error == 0:
        p_value = 0.0 if room > 0 else 1.0
    else:
        p_value = float(t.sf(room / error, n - 1))
    return Equivalence(mean, low, high, p_value, -margin < low and high < margin, n)
