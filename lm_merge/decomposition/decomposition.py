"""A decomposition of a target: components, gates, and the losses that train both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.decomposition.components import (
    Factors,
    Tensors,
    factors_of,
    n_components_of,
    new_components,
)
from lm_merge.decomposition.importance import GATES, new_gates
from lm_merge.decomposition.leaky import leaky
from lm_merge.decomposition.losses import PENALTIES, RECONSTRUCTIONS, Reconstruction, Step
from lm_merge.decomposition.masked import Batch, CleanPass, MaskedPass, Target
from lm_merge.decomposition.masks import LayerMask, Part, SeedDraws, draws_for, masks_of
from lm_merge.decomposition.settings import DecompositionSettings

Draws = Sequence[Mapping[str, Tensor]]


class Seen(NamedTuple):
    """What the target did with a batch, and what the gates make of it.

    output: of the target, without gradient. scores: z; importances and upper: its two leaky versions.
    """

    batch: Any
    inputs: dict[str, Tensor]
    output: Tensor
    factors: dict[str, Factors]
    scores: dict[str, Tensor]
    importances: dict[str, Tensor]
    upper: dict[str, Tensor]


@dataclass
class Decomposition:
    """U, V and gates of all layers for all seeds; tensors have the seeds as leading axis.

    seeds: of the random start, one a decomposition. Two decompositions with a seed in common have equal
    numbers there, whatever other seeds run along.
    """

    target: Target
    settings: DecompositionSettings
    seeds: tuple[int, ...]
    tensors: Tensors

    @staticmethod
    def start(
        target: Target,
        settings: DecompositionSettings,
        seeds: Sequence[int],
        generators: Sequence[torch.Generator],
    ) -> "Decomposition":
        """Random components and gates, ready to be trained."""
        counts = n_components_of(list(target.layers), settings.components)
        tensors = new_components(target.layers, counts, generators)
        factors = factors_of(target.layers, tensors)
        gate = GATES[settings.gate]
        tensors |= new_gates(gate, settings.gate_width, factors, generators)
        for tensor in tensors.values():
            tensor.requires_grad_()
        return Decomposition(target, settings, tuple(seeds), tensors)

    def factors(self) -> dict[str, Factors]:
        """U and V of every layer."""
        return factors_of(self.target.layers, self.tensors)

    def see(self, batch: Batch) -> Seen:
        """Run the target on a batch and compute the importance of every component."""
        clean = CleanPass(self.target.layers)
        with torch.no_grad():
            output = self.target.forward(batch, clean)
        factors = self.factors()
        inner = {name: factors[name].inner(a) for name, a in clean.inputs.items()}
        gate = GATES[self.settings.gate]
        scores = gate.scores(self.tensors, factors, clean.inputs, inner)
        pairs = {
            name: leaky(z, one_sided=self.settings.one_sided_leak) for name, z in scores.items()
        }
        return Seen(
            batch,
            clean.inputs,
            output,
            factors,
            scores,
            {name: pair[0] for name, pair in pairs.items()},
            {name: pair[1] for name, pair in pairs.items()},
        )

    def divergences(
        self, seen: Seen, parts: Sequence[Mapping[str, LayerMask]]
    ) -> Float[Tensor, "seeds parts"]:
        """Mean divergence from the target's output under each part's masks."""
        apply = MaskedPass(seen.factors, parts)
        output = self.target.forward(seen.batch, apply, copies=len(parts))
        clean = seen.output if len(parts) == 1 else seen.output.repeat(1, len(parts), 1)
        rows = self.target.divergence(output, clean).unflatten(1, (len(parts), -1))
        weights = seen.batch.weights.unsqueeze(1)
        return (rows * weights).sum(-1) / weights.sum(-1)

    def masks(self, seen: Seen, parts: Sequence[Part], draws: Draws) -> list[dict[str, LayerMask]]:
        """The masks of every part."""
        return [
            masks_of(part, seen.importances, drawn, self.settings.remainder)
            for part, drawn in zip(parts, draws, strict=True)
        ]

    def ascended(self, seen: Seen, parts: Sequence[Part], draws: Draws, n_steps: int) -> Draws:
        """Draws that make the divergence larger: steps of sign ascent, kept in [0, 1].

        n_steps of size 1 / n_steps, from the random draws given. Source: as in signed gradient attacks,
        Madry et al. (2018).
        """
        names = {place: list(part) for place, part in enumerate(draws)}
        flat = [draws[place][name].clone() for place in names for name in names[place]]
        fixed = seen._replace(importances={k: v.detach() for k, v in seen.importances.items()})
        frozen = {
            name: Factors(one.layer, one.U.detach(), one.V.detach())
            for name, one in seen.factors.items()
        }
        fixed = fixed._replace(factors=frozen)
        for _ in range(n_steps):
            with torch.enable_grad():
                flat = [one.detach().requires_grad_() for one in flat]
                pieces = iter(flat)
                moved = [{name: next(pieces) for name in names[place]} for place in names]
                total = self.divergences(fixed, self.masks(fixed, parts, moved)).sum()
                slopes = torch.autograd.grad(total, flat)
            flat = [
                (one.detach() + slope.sign() / n_steps).clamp(0, 1)
                for one, slope in zip(flat, slopes, strict=True)
            ]
        pieces = iter(flat)
        return [{name: next(pieces) for name in names[place]} for place in names]

    def losses(
        self, seen: Seen, draw: SeedDraws, choice: torch.Generator, progress: float
    ) -> dict[str, Float[Tensor, " seeds"]]:
        """Each loss of the settings, without its weight. choice: draws what is common to all seeds."""
        step = Step(seen.factors, seen.importances, seen.upper, seen.batch.weights, progress)
        found: dict[str, Tensor] = {}
        planned: list[tuple[str, list[Part], Reconstruction]] = []
        for name, given in self.settings.losses.items():
            if name in PENALTIES:
                arguments = {key: value for key, value in given.items() if key != "weight"}
                found[name] = PENALTIES[name](step, **arguments)
            else:
                kind = RECONSTRUCTIONS[name]
                parts = kind.parts(list(seen.importances), choice, kind.kind)
                planned.append((name, parts, kind))
        masks: list[dict[str, LayerMask]] = []
        for _, parts, kind in planned:
            draws = draws_for(parts, seen.importances, draw, seen.batch.n_rows)
            if kind.ascent_steps:
                draws = self.ascended(seen, parts, draws, kind.ascent_steps)
            masks += self.masks(seen, parts, draws)
        if masks:
            sizes = [len(parts) for _, parts, _ in planned]
            values = self.divergences(seen, masks).split(sizes, dim=1)
            for (name, _, _), one in zip(planned, values, strict=True):
                found[name] = one.mean(dim=1)
        return found
