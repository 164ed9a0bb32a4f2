"""One threshold of magnitude over all modules of an adapter, without holding all of their matrices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class GlobalThreshold:
    """Which values stay: those at least as large as `value`, less some that equal it.

    surplus: module -> how many of its values equal to `value`, from the last on, go all the same, so
    that exactly the wanted number stays.
    """

    value: float
    surplus: Mapping[str, int]

    def keep(self, matrix: Float[Tensor, "d_out d_in"], key: str) -> Float[Tensor, "d_out d_in"]:
        """The module's values that stay, the others 0."""
        magnitudes = matrix.float().abs()
        kept = matrix.where(magnitudes >= self.value, 0.0)
        n_dropped = self.surplus.get(key, 0)
        if n_dropped:
            equal = (magnitudes == self.value).flatten().nonzero().squeeze(-1)
            kept.view(-1)[equal[-n_dropped:]] = 0.0
        return kept


def global_threshold(
    matrix: Callable[[str], Float[Tensor, "d_out d_in"]], keys: Sequence[str], density: float
) -> GlobalThreshold:
    """The threshold that keeps max(1, floor(density * n)) of all n values of an adapter.

    Bisection on the bits of float32, whose order for non-negative numbers is that of the integers with
    the same bits: at most 32 passes over the modules, one matrix in memory at a time. Among equal values
    those of earlier modules, then earlier places, stay. density in [0, 1].
    """
    wanted = max(1, int(density * sum(matrix(key).numel() for key in keys)))
    low, high = 0, int(torch.tensor(torch.finfo(torch.float32).max).view(torch.int32))
    while low < high:  # the largest threshold that still keeps as many as wanted
        middle = (low + high + 1) // 2
        at_least = sum(int((matrix(key).float().abs() >= _of(middle)).sum()) for key in keys)
        low, high = (middle, high) if at_least >= wanted else (low, middle - 1)
    value = _of(low)
    counts = {}
    for key in keys:
        magnitudes = matrix(key).float().abs()
        counts[key] = int((magnitudes >= value).sum()), int((magnitudes == value).sum())
    left = sum(kept for kept, _ in counts.values()) - wanted
    surplus = {}
    for key in reversed(keys):
        surplus[key] = min(left, counts[key][1])
        left -= surplus[key]
    return GlobalThreshold(value, surplus)


def _of(bits: int) -> float:
    return float(torch.tensor(bits, dtype=torch.int32).view(torch.float32))
