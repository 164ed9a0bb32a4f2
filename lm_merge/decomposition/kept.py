"""A language model with some components taken away or kept, in both of its views."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_merge.decomposition.components import Factors
from lm_merge.decomposition.decomposition import Decomposition
from lm_merge.decomposition.targets.language import LanguageTarget
from lm_merge.models.hooked_lm import HookedLM
from lm_merge.spaces.adapters.hooked_modules import modules_in_hooked_view

Masks = Mapping[str, Float[Tensor, "*#batch n_components"]]


@contextmanager
def masked(
    found: Decomposition, masks: Masks, *, seed: int | None = None, remainder: float = 1.0
) -> Iterator[HookedLM]:
    """The target's model with components multiplied by masks, in `hooked` and `native`, until left.

    masks: layer -> [n_components], or one row a token; layers that are not named stay whole.
    remainder: share of W - U V that is kept. seed: which of the decomposition's (None: its first).
    """
    target = found.target
    if not isinstance(target, LanguageTarget):
        raise ValueError("masked() is for language targets; a toy target is run by its forward")
    seed = found.seeds[0] if seed is None else seed
    if seed not in found.seeds:
        raise ValueError(f"seed={seed} is not in the decomposition; choose from {found.seeds}")
    unknown = sorted(set(masks) - set(target.layers))
    if unknown:
        raise ValueError(
            f"masks: {unknown} are no decomposed layers; choose from {list(target.layers)}"
        )
    place, factors = found.seeds.index(seed), found.factors()
    views = _modules(target.model, {name: target.modules[name] for name in masks})
    handles = [
        module.register_forward_hook(_hook(factors[name], place, mask, remainder))
        for name, mask in masks.items()
        for module in views[name]
    ]
    try:
        yield target.model
    finally:
        for handle in handles:
            handle.remove()


def _modules(model: HookedLM, native: Mapping[str, nn.Module]) -> dict[str, list[nn.Module]]:
    """Each module with the one of the hooked view that computes with the same weight."""
    found: dict[str, list[nn.Module]] = {name: [module] for name, module in native.items()}
    for name, module in modules_in_hooked_view(model, native).items():
        found[name].append(module)
    return found


def _hook(factors: Factors, place: int, mask: Tensor, remainder: float) -> Any:
    one = Factors(factors.layer, factors.U[place, None].detach(), factors.V[place, None].detach())

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        a = inputs[0]
        flat = a.reshape(1, -1, *a.shape[a.ndim - (0 if one.layer.embedding else 1) :])
        whole = one.layer.full_map(flat)
        rows = mask.expand(*a.shape[:2], -1) if mask.ndim > 1 else mask
        rows = rows.reshape(1, -1, rows.shape[-1]).expand(1, flat.shape[1], -1)
        rest = torch.full_like(rows[..., :1], remainder)
        change = one.masked(flat, rows, rest) - whole
        return output + change.reshape(output.shape).to(output)

    return hook
