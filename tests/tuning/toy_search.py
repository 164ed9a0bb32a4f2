"""A toy of conflicting tasks: each recovers best elsewhere, and the best merge lies between them."""

from typing import Any

import numpy as np
from numpy import ndarray

from lm_merge.tuning.search.proposer import Observation, RecoveryProposer
from lm_merge.tuning.search.space import Parameter, SearchSpace

N = 4
SPACE = SearchSpace({f"c{number}": Parameter(low=0, high=1) for number in range(N)})
CENTRES = np.array([[0.8, 0.3, 0.5, 0.2], [0.3, 0.7, 0.4, 0.6], [0.4, 0.4, 0.9, 0.5]])
SLOPES = np.array([[2.0, 1.0, 0.5, 1.5], [1.0, 2.0, 1.0, 0.5], [0.7, 1.2, 2.0, 1.0]])


def recoveries(points: ndarray) -> ndarray:
    """Recovery of the three tasks at points [n, 4]: 1 at a task's own centre, less elsewhere."""
    away = points[:, None, :] - CENTRES
    return 1 - (SLOPES * (np.sqrt(1 + 4 * away**2) - 1)).sum(axis=-1)


def optimum() -> float:
    """The best worst recovery of 400,000 random points, then of points around it."""
    rng = np.random.default_rng(0)
    points = rng.random((400_000, N))
    for spread in (0.05, 0.01, 0.002):
        best = points[recoveries(points).min(axis=1).argmax()]
        points = np.clip(best + spread * rng.standard_normal((100_000, N)), 0, 1)
    return float(recoveries(points).min(axis=1).max())


class Tried(dict):
    """Values in place of a configuration."""


def run(strategy: str, n_trials: int, seed: int, **options: Any) -> list[float]:
    """Worst recovery of the best trial so far, after each trial."""
    proposer: Any = RecoveryProposer(
        SPACE, Tried, lambda trial: trial, strategy=strategy, n_start=5, seed=seed, **options
    )
    best: list[float] = []
    for _ in range(n_trials):
        values = proposer.ask()
        found = recoveries(np.array([list(values.values())]))[0]
        proposer.seen.append((proposer.asked[-1], tuple(map(float, found))))
        best.append(max([*best[-1:], float(found.min())]))
    return best


def median_regret(strategy: str, n_trials: int, seeds: range) -> float:
    top = optimum()
    return float(np.median([top - run(strategy, n_trials, seed)[-1] for seed in seeds]))


__all__ = ["Observation", "SPACE", "median_regret", "optimum", "recoveries", "run"]
