"""Thinning a task vector at random; the seed is an argument, so that a mask can be drawn again."""

import hashlib
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.accumulation import wide_sum

Rescale = Literal["density", "l1"]


def keep_random(
    task_vector: Float[Tensor, "*rows n"],
    *,
    density: float,
    seed: int,
    rescale: Rescale = "density",
) -> Float[Tensor, "*rows n"]:
    r"""DARE: each value stays with probability `density`, else 0; what stays is scaled up.

    rescale: "density", by 1/density, which keeps the expectation (the paper's form); "l1", to the sum
    of magnitudes before. density in [0, 1]: at 1 nothing changes, at 0 nothing stays.
    Source: Yu et al. (2024), "Language Models are Super Mario", section 3.
    """
    if density >= 1:
        return task_vector.clone()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(task_vector.shape, generator=generator).to(task_vector.device)
    kept = task_vector.masked_fill(drawn >= density, 0.0)
    return _rescaled(kept, task_vector, density, rescale)


def keep_random_by_magnitude(
    task_vector: Float[Tensor, "*rows n"],
    *,
    density: float,
    epsilon: float,
    seed: int,
    rescale: Rescale = "density",
) -> Float[Tensor, "*rows n"]:
    r"""DELLA: each value stays with a probability that grows with its rank in its row.

    $p = \text{density} - \epsilon + 2\epsilon\,r/(n-1)$ for rank r = 0 (smallest magnitude) to n - 1;
    a row of one value has p = density. Ranks go by magnitude, then by position. What stays is scaled
    by 1/p ("density"), or to the tensor's sum of magnitudes before ("l1"). density - epsilon and
    density + epsilon lie in [0, 1], but at density 1, where nothing changes, and 0, where nothing
    stays. Source: Deep et al. (2024), DELLA-Merging, section 3.1.
    """
    if density >= 1:
        return task_vector.clone()
    if density <= 0:
        return torch.zeros_like(task_vector)
    n = task_vector.shape[-1]
    order = task_vector.abs().argsort(dim=-1, stable=True)
    rising = torch.linspace(-epsilon, epsilon, n) if n > 1 else torch.zeros(1)
    rising = rising.to(task_vector.device)
    chance = torch.empty(task_vector.shape, device=task_vector.device)
    chance.scatter_(-1, order, (density + rising).expand_as(chance))
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(task_vector.shape, generator=generator).to(task_vector.device)
    kept = task_vector.masked_fill(drawn >= chance, 0.0)
    return _rescaled(kept, task_vector, chance, rescale)


def _rescaled(
    kept: Tensor, before: Tensor, chance: float | Tensor, rescale: Rescale
) -> Float[Tensor, "*rows n"]:
    if rescale == "density":
        return torch.where(kept == 0, 0.0, kept / chance)
    left = wide_sum(kept.abs())
    if left == 0:
        return kept
    return kept * float(wide_sum(before.abs()) / left)


def mask_seed(seed: int, tensor: str, model: int) -> int:
    """Seed of the mask of one model's tensor: from names, so that order and sharding do not matter."""
    digest = hashlib.sha256(f"{seed}/{tensor}/{model}".encode()).digest()
    return int.from_bytes(digest[:7], "little")
