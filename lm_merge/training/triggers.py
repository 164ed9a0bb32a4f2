"""When models that are trained side by side are merged: from their curves alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PLATEAU_LOSSES, CONVERGED_LOSSES, CONVERGED = 20, 5, 1e-6
MERGE_ABOVE = 0.5
MOST, LEAST = 10, 1  # epochs between merges


@dataclass(frozen=True)
class Curves:
    """Losses of every step and dev accuracies of every epoch of one model."""

    losses: tuple[float, ...]
    dev_accuracies: tuple[float, ...]


def every(epoch: int, interval: int) -> bool:
    """Whether an epoch, counted from 1, ends an interval."""
    return epoch % interval == 0


def plateau(curves: Sequence[Curves], threshold: float = 1e-4) -> bool:
    """Whether, for all models, the mean of the last two absolute changes of dev accuracy is small.

    threshold: as a share. False before three epochs.
    """
    changes = [np.abs(np.diff(one.dev_accuracies[-3:])) for one in curves]
    return all(len(one) == 2 and one.mean() < threshold for one in changes)


def has_stalled(curves: Sequence[Curves], patience: int | None) -> bool:
    """Whether the models' mean dev accuracy has not risen above its best for so many epochs."""
    if patience is None:
        return False
    means = np.mean([one.dev_accuracies for one in curves], axis=0)
    return len(means) - 1 - int(np.argmax(means)) >= patience


def merge_score(curves: Sequence[Curves], threshold: float = 1e-4) -> float:
    """Score of a merge at this moment, in [0, 1]: the higher, the sooner.

    .4 (.2) if more than 50 % (25 %) of the models are on a plateau (variance of their last 20 losses
    below the threshold, of at least 10); .3 (.15) if more than 70 % (40 %) have converged (mean absolute
    change of their last 5 losses below 1e-6); .3 times the share of models whose dev accuracy falls by
    more than .01 an epoch (slope of a line).
    """
    flat = np.mean([_is_flat(one.losses, threshold) for one in curves])
    converged = np.mean([_has_converged(one.losses) for one in curves])
    worse = np.mean([_slope(one.dev_accuracies) < -0.01 for one in curves])
    score = 0.4 if flat > 0.5 else 0.2 if flat > 0.25 else 0.0
    score += 0.3 if converged > 0.7 else 0.15 if converged > 0.4 else 0.0
    return float(score + 0.3 * worse)


def next_interval(interval: int, score: float) -> int:
    """Epochs until the next merge: fewer after a high score, more after a low one, 1 to 10."""
    step = -1 if score > 0.8 else 0 if score > 0.6 else 1 if score > 0.3 else 2
    return min(MOST, max(LEAST, interval + step))


def _is_flat(losses: Sequence[float], threshold: float) -> bool:
    last = losses[-PLATEAU_LOSSES:]
    return len(last) >= PLATEAU_LOSSES // 2 and float(np.var(last)) < threshold


def _has_converged(losses: Sequence[float]) -> bool:
    last = losses[-CONVERGED_LOSSES:]
    return len(last) == CONVERGED_LOSSES and float(np.abs(np.diff(last)).mean()) < CONVERGED


def _slope(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    return float(np.polyfit(np.arange(len(values)), values, 1)[0])
