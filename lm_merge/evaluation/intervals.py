"""Intervals for shares."""

from scipy.stats import binomtest


def wilson_interval(n_right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share n_right / n, both ends in [0, 1]; (0, 1) for n = 0.

    Source: Wilson (1927), as computed by scipy.
    """
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(n_right, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)
