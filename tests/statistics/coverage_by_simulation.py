"""How often an interval holds the truth, and how often a test rejects a true null: by simulation."""

from collections.abc import Callable

import numpy as np

Draw = Callable[[np.random.Generator], tuple[float, float]]


def coverage(interval: Draw, truth: float, *, n_draws: int = 300, seed: int = 0) -> float:
    """Share of draws whose interval holds the truth; an undefined interval holds nothing."""
    rng = np.random.default_rng(seed)
    drawn = (interval(rng) for _ in range(n_draws))
    return float(np.mean([low <= truth <= high for low, high in drawn]))


def rejections(
    p_value: Callable[[np.random.Generator], float],
    *,
    level: float = 0.05,
    n_draws: int = 500,
    seed: int = 0,
) -> float:
    """Share of draws of a true null that a test rejects."""
    rng = np.random.default_rng(seed)
    return float(np.mean([p_value(rng) <= level for _ in range(n_draws)]))
