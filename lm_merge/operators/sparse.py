"""Thinning a task vector by magnitude, with one rule for ties.

Ranks go by magnitude, largest first, and among equal magnitudes by position, first first. So exactly
the asked number stays, in any dtype; low precision makes equal magnitudes common.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def n_kept(density: float, n: int) -> int:
    """How many of n values a density keeps: floor(density * n)."""
    return int(density * n)


def largest(task_vector: Float[Tensor, " n"], count: int) -> Float[Tensor, " n"]:
    """The `count` values of largest magnitude, the others 0.

    The threshold is found by selection, in linear time, not by a sort.
    """
    n = len(task_vector)
    if count >= n:
        return task_vector.clone()
    if count <= 0:
        return torch.zeros_like(task_vector)
    ranked = task_vector.detach().abs().cpu().numpy()
    ranked.partition(n - count)
    threshold = ranked[n - count]
    if threshold == 0:
        return task_vector.clone()  # what would go is 0 already
    below = np.nextafter(threshold, np.zeros_like(threshold))
    kept = torch.nn.functional.hardshrink(task_vector, float(below))  # where |x| > below
    surplus = int((ranked[: n - count] == threshold).sum())
    if surplus:
        equal = (task_vector.abs() == float(threshold)).nonzero().squeeze(-1)
        kept[equal[-surplus:]] = 0
    return kept


def keep_largest(task_vector: Float[Tensor, " n"], *, density: float) -> Float[Tensor, " n"]:
    """TIES' trim: the max(1, floor(density * n)) values of largest magnitude, the others 0.

    density in [0, 1]; 1 keeps all. Source: Yadav et al. (2023), TIES-Merging, section 4.
    """
    return largest(task_vector, max(1, n_kept(density, len(task_vector))))


def keep_middle(
    task_vector: Float[Tensor, " n"], *, density: float, gamma: float
) -> Float[Tensor, " n"]:
    """Breadcrumbs: without the floor(gamma * n) largest, the floor(density * n) next ones, else 0.

    density and gamma in [0, 1]. Where both do not fit, fewer of the largest go, so that the density
    holds. Source: Davari and Belilovsky (2023), Model Breadcrumbs, section 3; there the share of small
    values that go is given, here the share that stays.
    """
    n = len(task_vector)
    count = n_kept(density, n)
    outliers = min(n_kept(gamma, n), n - count)
    return largest(task_vector, outliers + count) - largest(task_vector, outliers)
