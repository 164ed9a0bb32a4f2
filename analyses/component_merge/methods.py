"""Merges of updates as functions of one scale: by components, and of whole weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lm_merge.decomposition.merging import WeightedComponents
from lm_merge.operators.consensus import agreeing_sum
from lm_merge.operators.random_masks import keep_random, mask_seed
from lm_merge.operators.sparse import keep_largest

Weights = dict[str, Tensor]
Components = Mapping[str, WeightedComponents]  # name of a weight -> its components


@dataclass(frozen=True)
class Updates:
    """A base, what several fine-tunings changed, and the components of each change.

    changes: name of a weight -> tuned - base. components, rounded: weighted by importance, and those of
    importance above 1/2 wholly; weights without components (norms, biases) stay the base's there.
    """

    base: Weights
    changes: Sequence[Weights]
    components: Sequence[Components]
    rounded: Sequence[Components]
    density: float
    seed: int


def by_components(updates: Updates, chosen: Sequence[Components], scale: float) -> Weights:
    """base + scale * sum of weighted components."""
    merged = dict(updates.base)
    for one in chosen:
        for name, components in one.items():
            merged[name] = merged[name] + scale * components.update()
    return merged


def task_arithmetic(updates: Updates, scale: float) -> Weights:
    """base + scale * sum of the changes. Source: Ilharco et al. (2023), arXiv 2212.04089."""
    return _by_weight(updates, scale, lambda name, changes: torch.stack(changes).sum(dim=0))


def ties(updates: Updates, scale: float) -> Weights:
    """Each change trimmed, then the mean of those that agree in sign. Source: arXiv 2306.01708."""

    def agreed(name: str, changes: list[Tensor]) -> Tensor:
        kept = [keep_largest(one.flatten(), density=updates.density) for one in changes]
        weights = torch.ones(len(kept), 1, dtype=kept[0].dtype)
        return agreeing_sum(torch.stack(kept), weights).view_as(changes[0])

    return _by_weight(updates, scale, agreed)


def dare_linear(updates: Updates, scale: float) -> Weights:
    """Each change thinned at random and scaled up, then summed. Source: arXiv 2311.03099."""

    def thinned(name: str, changes: list[Tensor]) -> Tensor:
        kept = [
            keep_random(one, density=updates.density, seed=mask_seed(updates.seed, name, place))
            for place, one in enumerate(changes)
        ]
        return torch.stack(kept).sum(dim=0)

    return _by_weight(updates, scale, thinned)


def linear(updates: Updates, scale: float) -> Weights:
    """base + scale * mean of the changes; at scale 1 the mean of the tuned models."""
    return _by_weight(updates, scale, lambda name, changes: torch.stack(changes).mean(dim=0))


def _by_weight(
    updates: Updates, scale: float, function: Callable[[str, list[Tensor]], Tensor]
) -> Weights:
    return {
        name: base + scale * function(name, [change[name] for change in updates.changes])
        for name, base in updates.base.items()
    }


FUNCTIONS: dict[str, Callable[[Updates, float], Weights]] = {
    "components": lambda updates, scale: by_components(updates, updates.components, scale),
    "components_rounded": lambda updates, scale: by_components(updates, updates.rounded, scale),
    "dare_linear": dare_linear,
    "linear": linear,
    "task_arithmetic": task_arithmetic,
    "ties": ties,
}
RANDOM = ("components", "components_rounded", "dare_linear")  # what a seed changes
