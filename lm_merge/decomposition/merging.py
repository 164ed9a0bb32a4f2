"""Merging fine-tuned models component by component.

W0 + scale * sum over updates k and components c of lambda_kc u_kc v_kc^T. A component counts by its
mean importance on its own task's data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.decomposition.components import Factors
from lm_merge.decomposition.decomposition import Seen
from lm_merge.models.adapters.adapter import Adapter
from lm_merge.models.adapters.settings import AdapterSettings
from lm_merge.operators.low_rank import LowRank


@dataclass(frozen=True)
class WeightedComponents:
    """One update's components of one layer, each with its weight."""

    U: Float[Tensor, "d_out n_components"]
    V: Float[Tensor, "n_components d_in"]
    weights: Float[Tensor, " n_components"]

    def update(self) -> Float[Tensor, "d_out d_in"]:
        """The weighted sum of the components."""
        return (self.U * self.weights) @ self.V


@torch.no_grad()
def weighted_components(
    seen: Seen,
    *,
    place: int = 0,
    by: Literal["largest", "mean"] = "largest",
    threshold: float | None = None,
) -> dict[str, WeightedComponents]:
    """Components of every untied layer, weighted by importance on the examples seen, in [0, 1].

    by: "largest": a component that a rare example needs wholly is kept wholly; "mean": over examples.
    A shared weight counts by the larger of its two places. threshold: weights at or above it become 1,
    others 0. place: which of the decomposition's seeds.
    """
    weighted = {}
    for name, one in seen.factors.items():
        if one.layer.tied_to is not None:
            continue
        places = [name, *(n for n, f in seen.factors.items() if f.layer.tied_to == name)]
        counts = seen.batch.weights[place]
        of_places = [_weights(seen.importances[layer][place], counts, by) for layer in places]
        weights = torch.stack(of_places).max(dim=0).values
        if threshold is not None:
            weights = (weights >= threshold).to(weights)
        U, V = one.U[place].detach(), one.V[place].detach()
        weighted[name] = WeightedComponents(U, V, weights)
    return weighted


def _weights(g: Tensor, counts: Tensor, by: str) -> Float[Tensor, " n_components"]:
    if by == "largest":
        return g[counts > 0].max(dim=0).values
    return (g * counts.unsqueeze(-1)).sum(dim=0) / counts.sum()


def conflicts(
    one: Factors, other: Factors, together: Float[Tensor, "n_one n_other"], place: int = 0
) -> Float[Tensor, "n_one n_other"]:
    """(u . u') (v . v') times how often both matter at once.

    together: mean of g g' over pooled data.
    """
    left = one.U[place].T @ other.U[place]
    return left * (one.V[place] @ other.V[place].T) * together


def merge_by_components(
    bases: Mapping[str, Tensor],
    updates: Sequence[Mapping[str, WeightedComponents]],
    scale: float = 1.0,
) -> dict[str, Tensor]:
    """Weights of the merge by layer. Raises ValueError where the updates have other layers."""
    for one in updates:
        if set(one) != set(bases):
            raise ValueError(f"layers differ: {sorted(set(one) ^ set(bases))}")
    return {
        name: base + scale * torch.stack([one[name].update() for one in updates]).sum(dim=0)
        for name, base in bases.items()
    }


@torch.no_grad()
def components_as_adapter(
    updates: Sequence[Mapping[str, WeightedComponents]], scale: float, *, name: str, base: str
) -> Adapter:
    """The merge as a LoRA of the base: rank = components of weight above 0, A = v, B = scale weight u.

    Layers are module paths of the base, as those of a language target are. base: its name or folder.
    Raises ValueError where no component has a weight.
    """
    deltas: dict[str, LowRank] = {}
    for layer in updates[0]:
        kept = [(one[layer], one[layer].weights > 0) for one in updates]
        a = torch.cat([one.V[rows] for one, rows in kept])
        b = torch.cat([scale * (one.U * one.weights)[:, rows] for one, rows in kept], dim=1)
        if len(a):
            deltas[layer] = LowRank(a, b)
    if not deltas:
        raise ValueError("no component has a weight above 0: there is no update to write")
    rank = max(delta.rank for delta in deltas.values())
    settings = AdapterSettings(r=rank, lora_alpha=rank, base=base)
    return Adapter(name, Path(name), settings, deltas, {}, {})
