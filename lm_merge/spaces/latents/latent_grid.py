"""Many merges of one pair on the same texts, each at one block: the parents run once for all of them.

Up to the merged block a merge *is* the host and the donor, so a cell costs the host's later blocks
only, and cells of one block run as one batch. The numbers are those of `LatentMerge`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lm_merge.coefficients.shares import donor_shares
from lm_merge.models import HookedLM
from lm_merge.models.tail import RecordedPass, Tail
from lm_merge.operators import get_operator, needs_base
from lm_merge.spaces.latents import LatentMerge
from lm_merge.spaces.latents.alpha_by_layer import check_within, layer_schedule
from lm_merge.spaces.latents.state_merge import StateMerge
from lm_merge.spaces.non_finite import NonFiniteMerge


class GridCell(NamedTuple):
    """One merge of a grid."""

    layer: int
    operator: str
    alpha: float


@dataclass(frozen=True)
class LatentGrid:
    """Merges of a pair at single blocks, evaluated together.

    merge: one merge of the pair, whose models, donor weights, base and operator arguments all cells
    share; its own blocks, operator and alpha do not count. cells: the merges. at_once: how many run
    as one batch at most.

    Raises ValueError for a block outside the host, an operator that lacks its base, or no cell.
    """

    merge: LatentMerge
    cells: tuple[GridCell, ...]
    at_once: int = 16

    def __post_init__(self) -> None:
        if not self.cells:
            raise ValueError("cells is empty; give at least one merge")
        if isinstance(self.merge.donor_weights, Mapping):
            raise ValueError(
                f"donor_weights={self.merge.donor_weights} by block: a grid takes one weight a donor"
            )
        for cell in self.cells:
            host = self.merge.host
            check_within(layer_schedule({cell.layer: cell.alpha}, None), host.n_layers, host.name)
            if needs_base(get_operator(cell.operator)) and self.merge.base is None:
                raise ValueError(f"operator {cell.operator!r} needs a base, the common ancestor")
        object.__setattr__(self, "_tails", [Tail(model) for model in self._models()])

    @property
    def layers(self) -> tuple[int, ...]:
        """The blocks of all cells, in rising order."""
        return tuple(sorted({cell.layer for cell in self.cells}))

    def run(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"],
        merged_at: Bool[Tensor, "batch pos"] | None = None,
    ) -> "GridPass":
        """Run host and donors once on a batch; the cells run when they are asked for.

        merged_at: tokens to merge; every one that is no padding unless given.
        """
        tails: list[Tail] = vars(self)["_tails"]
        real = attention_mask.bool().to(self.merge.host.device)
        chosen = real if merged_at is None else merged_at.to(real.device) & real
        passes = [tail.record(tokens, attention_mask, layers=self.layers) for tail in tails]
        return GridPass(self, passes[0], passes[1:], chosen)

    def _models(self) -> list[HookedLM]:
        base = [] if self.merge.base is None else [self.merge.base]
        return [self.merge.host, *self.merge.donors, *base]


@dataclass(frozen=True)
class GridPass:
    """Host and donors on one batch, and every merge of them."""

    grid: LatentGrid
    host: RecordedPass
    others: Sequence[RecordedPass]  # donors, then the base if there is one
    merged_at: Bool[Tensor, "batch pos"]

    @property
    def donor(self) -> RecordedPass:
        """The first donor's own pass."""
        return self.others[0]

    def merged(self, cell: GridCell) -> Float[Tensor, "batch pos d_model"]:
        """The merged state at a cell's block. Raises NonFiniteMerge, naming the cell."""
        merge, n_donors = self.grid.merge, len(self.grid.merge.donors)
        states = [other.states[cell.layer] for other in self.others]
        base = states[n_donors] if needs_base(get_operator(cell.operator)) else None
        weights: Any = merge.donor_weights
        contributing = [
            (state, share)
            for state, share in zip(states[:n_donors], donor_shares(weights, n_donors), strict=True)
            if share != 0
        ]
        merge_states = StateMerge(cell.operator, merge.operator_args)
        host = self.host.states[cell.layer]
        donors, shares = zip(*contributing, strict=True)
        merged = merge_states(cell.alpha, shares, host, donors, base)
        if not merged[self.merged_at].isfinite().all():
            raise NonFiniteMerge(f"the merged state is not finite at {cell}")
        return torch.where(self.merged_at.unsqueeze(-1), merged, host)

    @torch.no_grad()
    def ends(self) -> Iterator[tuple[tuple[GridCell, ...], Float[Tensor, "cells batch pos d"]]]:
        """Cells of one block at a time with their resid_post of the last block. No gradients."""
        for layer in self.grid.layers:
            of_layer = [cell for cell in self.grid.cells if cell.layer == layer]
            for start in range(0, len(of_layer), self.grid.at_once):
                part = tuple(of_layer[start : start + self.grid.at_once])
                states = torch.stack([self.merged(cell) for cell in part])
                yield part, self.host.resume(layer, states)
