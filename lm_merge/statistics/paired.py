"""Paired tests: two systems on the same questions."""

from dataclasses import dataclass

from jaxtyping import Bool
from numpy import ndarray
from scipy.stats import binomtest


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
    distinct question: repeated questions are not independent. Source: McNemar (1947).
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
