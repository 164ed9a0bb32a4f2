"""Masks: how much of each component and of the remainder takes part, example by example."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

MaskSource = Literal["uniform", "binomial"]


class SeedDraws:
    """Uniform draws in [0, 1), a generator for each seed, so that a seed's draws are its own."""

    def __init__(
        self, generators: Sequence[torch.Generator], source: MaskSource = "uniform"
    ) -> None:
        self.generators = tuple(generators)
        self.source = source

    def __call__(
        self, n_rows: Sequence[int], n_padded: int, width: int, like: Tensor
    ) -> Float[Tensor, "seeds n_padded width"]:
        """Draws for the first rows of each seed; those of padding rows are 0."""
        drawn = like.new_zeros(len(self.generators), n_padded, width)
        for seed, (generator, n) in enumerate(zip(self.generators, n_rows, strict=True)):
            torch.rand((n, width), generator=generator, out=drawn[seed, :n])
        return drawn.round_() if self.source == "binomial" else drawn


@dataclass(frozen=True)
class LayerMask:
    """Masks of one layer: mask [seeds, rows, n_components], rest (of the remainder) [seeds, rows, 1]."""

    mask: Tensor
    rest: Tensor

    @staticmethod
    def joined(masks: Sequence["LayerMask"]) -> "LayerMask":
        """Several masks one after another along the rows."""
        if len(masks) == 1:
            return masks[0]
        return LayerMask(
            torch.cat([one.mask for one in masks], dim=1),
            torch.cat([one.rest for one in masks], dim=1),
        )


MaskFunction = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def stochastic(ci: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """m = g + (1 - g) r, in [g, 1]; the remainder r, as if its importance were 0."""
    return torch.addcmul(ci, 1 - ci, draws[..., :-1]), draws[..., -1:]


def only_needed(ci: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """m = g, no remainder."""
    return ci, torch.zeros_like(draws[..., -1:])


def rounded(ci: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """m = 1 where g > 1/2, else 0; no remainder."""
    return (ci > 0.5).to(ci), torch.zeros_like(draws[..., -1:])


def components_alone(ci: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """m = 1, no remainder: the sum of all components."""
    return torch.ones_like(ci), torch.zeros_like(draws[..., -1:])


def everything(ci: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """m = 1 and the whole remainder: the target itself."""
    return torch.ones_like(ci), torch.ones_like(draws[..., -1:])


def nothing(ci: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """m = 0, no remainder."""
    return torch.zeros_like(ci), torch.zeros_like(draws[..., -1:])


def regardless(ci: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """m = r: random masks that know nothing of importance."""
    return draws[..., :-1] + 0 * ci, draws[..., -1:]


MASKS: dict[str, MaskFunction] = {
    "ci": only_needed,
    "components": components_alone,
    "none": everything,
    "random": regardless,
    "rounded": rounded,
    "stochastic": stochastic,
    "zero": nothing,
}


@dataclass(frozen=True)
class Part:
    """One masked forward pass: which layers are masked, and how (a name of MASKS)."""

    layers: tuple[str, ...]
    kind: str = "stochastic"


def draws_for(
    parts: Sequence[Part],
    importances: Mapping[str, Tensor],
    draw: SeedDraws,
    n_rows: Sequence[int],
) -> list[dict[str, Tensor]]:
    """Fresh draws of every masked layer of every part, those of a seed from one call."""
    first = next(iter(importances.values()))
    widths = [importances[name].shape[-1] + 1 for part in parts for name in part.layers]
    drawn = draw(n_rows, first.shape[1], sum(widths), first)
    pieces = iter(drawn.split(widths, dim=-1))
    return [{name: next(pieces) for name in part.layers} for part in parts]


def masks_of(
    part: Part, importances: Mapping[str, Tensor], draws: Mapping[str, Tensor], remainder: bool
) -> dict[str, LayerMask]:
    """The masks of one part; without `remainder` the remainder is left out of masked layers."""
    function = MASKS[part.kind]
    masks = {}
    for name in part.layers:
        mask, rest = function(importances[name], draws[name])
        keeps = remainder or part.kind == "none"
        masks[name] = LayerMask(mask, rest if keeps else torch.zeros_like(rest))
    return masks
