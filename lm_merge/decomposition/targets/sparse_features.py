"""Sparse random features, the data of toy models; all examples without a feature are one row."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

MAX_ON = 0.75  # value of the one feature of a one-hot input


@dataclass(frozen=True)
class FeatureBatch:
    """Inputs of a toy model for all seeds.

    weights: examples that a row represents; 0 for padding. n_rows: rows that are not padding.
    """

    x: Float[Tensor, "seeds rows n_features"]
    weights: Float[Tensor, "seeds rows"]
    n_rows: Sequence[int]


@dataclass(frozen=True)
class SparseFeatures:
    """Each feature is on with probability `on`, then uniform in [low, 1), else 0."""

    n_features: int
    on: float
    low: float = 0.0

    def draw(self, generator: torch.Generator, n: int) -> Float[Tensor, "n n_features"]:
        """`n` independent examples."""
        shape = (n, self.n_features)
        chance = torch.rand(shape, generator=generator, device=generator.device)
        # given that a feature is on, chance / on is uniform: one draw serves both questions
        values = self.low + (1 - self.low) / self.on * chance
        return torch.where(chance < self.on, values, 0.0)

    def batch(
        self,
        generators: Sequence[torch.Generator],
        n: int,
        active: Sequence[Sequence[int]] | None = None,
    ) -> FeatureBatch:
        """`n` examples for each seed; those without any feature are one row, weighted by their number.

        Where an input of 0 leads to masked differences of 0, that is exact. active: sets of features, in
        equal parts of the batch; the other features are off. None: all features throughout.
        """
        rows, weights = [], []
        for generator in generators:
            x = self.draw(generator, n)
            for place, kept in enumerate(active or ()):
                part = slice(place * n // len(active or ()), (place + 1) * n // len(active or ()))
                x[part] *= torch.zeros_like(x[0]).index_fill(0, torch.tensor(kept), 1.0)
            x = x[x.any(dim=1)]
            rows.append(torch.cat([x, x.new_zeros(1, self.n_features)]))
            counts = x.new_ones(len(x) + 1)
            counts[-1] = n - len(x)
            weights.append(counts)
        padded = torch.nn.utils.rnn.pad_sequence
        return FeatureBatch(
            padded(rows, batch_first=True), padded(weights, batch_first=True), [*map(len, rows)]
        )


def one_hot_batch(n_features: int, n_seeds: int, like: Tensor) -> FeatureBatch:
    """Each feature alone, at 0.75: row i holds feature i."""
    x = MAX_ON * torch.eye(n_features, dtype=like.dtype, device=like.device)
    x = x.expand(n_seeds, -1, -1)
    return FeatureBatch(x, x.new_ones(n_seeds, n_features), [n_features] * n_seeds)
