"""One number for the recoveries of a merge on several tasks; larger is better."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Recoveries = Float[ndarray, "*trials tasks"]
Score = Callable[[Recoveries], ndarray]


def worst(recoveries: Recoveries) -> ndarray:
    """Recovery of the task that recovers least."""
    return np.asarray(recoveries.min(axis=-1))


def mean(recoveries: Recoveries) -> ndarray:
    """Mean recovery."""
    return np.asarray(recoveries.mean(axis=-1))


def geometric_mean(recoveries: Recoveries) -> ndarray:
    """Geometric mean; -infinity where a recovery is negative, for which it is undefined."""
    product = np.prod(np.maximum(recoveries, 0), axis=-1)
    defined = (recoveries >= 0).all(axis=-1)
    return np.where(defined, product ** (1 / recoveries.shape[-1]), -np.inf)


def hypervolume(recoveries: Recoveries) -> ndarray:
    """Volume between recovery 0 of every task and the merge; 0 where a recovery is negative."""
    return np.asarray(np.prod(np.maximum(recoveries, 0), axis=-1))


def l2_shortfall(recoveries: Recoveries) -> ndarray:
    """Minus the root of the mean squared shortfall from recovery 1; 0 where no task falls short."""
    return -np.sqrt((np.maximum(1 - recoveries, 0) ** 2).mean(axis=-1))


SCORES: dict[str, Score] = {
    "worst": worst,
    "mean": mean,
    "geometric_mean": geometric_mean,
    "hypervolume": hypervolume,
    "l2_shortfall": l2_shortfall,
}


def rank_key(
    recoveries: Sequence[float], score: Score, nonnegative: bool = False
) -> tuple[float, float]:
    """What merges are ranked by: the score, then the mean recovery.

    nonnegative: a merge that harms a task ranks last; its score stays what it is elsewhere.
    """
    row = np.asarray(recoveries, dtype=float)
    value = -np.inf if nonnegative and row.min() < 0 else float(score(row))
    return float(value), float(row.mean())
