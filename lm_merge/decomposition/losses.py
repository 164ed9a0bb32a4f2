"""Losses of a decomposition: pure functions of one step, all as one value for each seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.decomposition.components import Factors
from lm_merge.decomposition.masks import Part

SMALL = 1e-12  # keeps the derivative of g^p finite at 0


@dataclass(frozen=True)
class Step:
    """What a penalty reads.

    factors: U and V by layer. importances: of masks (lower leaky), upper: of the penalty (upper leaky),
    both [seeds, rows, n_components] by layer. weights: examples that a row represents.
    progress: share of the training that is done, in [0, 1].
    """

    factors: Mapping[str, Factors]
    importances: Mapping[str, Tensor]
    upper: Mapping[str, Tensor]
    weights: Float[Tensor, "seeds rows"]
    progress: float = 0.0

    def mean(self, values: Float[Tensor, "seeds rows"]) -> Float[Tensor, " seeds"]:
        """Mean over examples."""
        return (values * self.weights).sum(dim=1) / self.weights.sum(dim=1)


def faithfulness(step: Step) -> Float[Tensor, " seeds"]:
    """Sum of |W - U V|^2 over layers, divided by the number of decomposed scalars; tied ones once."""
    own = [one for one in step.factors.values() if one.layer.tied_to is None]
    squares = torch.stack([one.faithfulness() for one in own]).sum(dim=0)
    return squares / sum(one.layer.weight.numel() for one in own)


def importance(step: Step, p: float = 1.0, p_end: float | None = None) -> Float[Tensor, " seeds"]:
    """Mean over examples of the sum over layers and components of (g + 1e-12)^p.

    p_end: exponent at the end of the training, reached linearly; None: p throughout.
    """
    power = _exponent(step, p, p_end)
    return step.mean(torch.stack([_power(g, power).sum(-1) for g in step.upper.values()]).sum(0))


def frequency(step: Step, p: float = 1.0) -> Float[Tensor, " seeds"]:
    """Sum over components of mean(g^p) log2(1 + sum(g^p)), mean and sum over the batch's examples.

    Costs a component that is often on more than one that is rarely on. Source: the authors' later code.
    """
    totals = 0
    for g in step.upper.values():
        summed = (_power(g, p) * step.weights.unsqueeze(-1)).sum(dim=1)
        mean = summed / step.weights.sum(dim=1, keepdim=True)
        totals = totals + (mean * torch.log2(1 + summed)).sum(dim=1)
    assert isinstance(totals, Tensor)
    return totals


def schatten(step: Step, p: float = 1.0) -> Float[Tensor, " seeds"]:
    """Mean over examples of the sum over components of g^p (|u_c|^2 + |v_c|^2)."""
    total = []
    for name, g in step.upper.items():
        one = step.factors[name]
        size = one.U.square().sum(dim=1) + one.V.square().sum(dim=2)
        total.append((_power(g, p) * size.unsqueeze(1)).sum(-1))
    return step.mean(torch.stack(total).sum(0))


def _exponent(step: Step, p: float, p_end: float | None) -> float:
    return p if p_end is None else p + (p_end - p) * step.progress


def _power(g: Tensor, p: float) -> Tensor:
    if p == 1:
        return g
    return g.square() if p == 2 else (g + SMALL) ** p


Penalty = Callable[..., Tensor]
PENALTIES: dict[str, Penalty] = {
    "faithfulness": faithfulness,
    "frequency": frequency,
    "importance": importance,
    "schatten": schatten,
}


def all_layers(layers: Sequence[str], draw: torch.Generator, kind: str) -> list[Part]:
    """One pass with every layer masked."""
    return [Part(tuple(layers), kind)]


def one_layer(layers: Sequence[str], draw: torch.Generator, kind: str) -> list[Part]:
    """A pass for each layer, that one alone masked."""
    return [Part((name,), kind) for name in layers]


def some_layers(layers: Sequence[str], draw: torch.Generator, kind: str) -> list[Part]:
    """One pass with k random layers masked, k ~ U{1..L}; the choice is the same for all seeds."""
    count = int(torch.randint(1, len(layers) + 1, (), generator=draw))
    chosen = set(torch.randperm(len(layers), generator=draw)[:count].tolist())
    return [Part(tuple(name for place, name in enumerate(layers) if place in chosen), kind)]


@dataclass(frozen=True)
class Reconstruction:
    """The mean divergence from the target over some masked passes.

    kind: a name of MASKS. ascent_steps: steps of sign ascent on the draws first, which makes the masks
    adversarial.
    """

    parts: Callable[[Sequence[str], torch.Generator, str], list[Part]]
    kind: str = "stochastic"
    ascent_steps: int = 0


RECONSTRUCTIONS: dict[str, Reconstruction] = {
    "adversarial": Reconstruction(all_layers, ascent_steps=1),
    "adversarial_subset": Reconstruction(some_layers, ascent_steps=1),
    "ci": Reconstruction(all_layers, "ci"),
    "components": Reconstruction(all_layers, "components"),
    "layerwise": Reconstruction(one_layer),
    "stochastic": Reconstruction(all_layers),
    "subset": Reconstruction(some_layers),
}
