"""Toy model of superposition: more features than dimensions. Source: Elhage et al. (2022)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.decomposition.components import Layer, Tensors
from lm_merge.decomposition.masked import Apply
from lm_merge.decomposition.targets.settings import TMSSettings
from lm_merge.decomposition.targets.sparse_features import (
    FeatureBatch,
    SparseFeatures,
    one_hot_batch,
)

LEARNED = 0.5  # least norm of a learned feature's column


@dataclass(frozen=True)
class TMSTarget:
    """x -> ReLU(W^T I W x + b); layers linear1 (W), hidden (I, where there is one), linear2 (W^T)."""

    settings: TMSSettings
    tensors: Tensors

    @property
    def data(self) -> SparseFeatures:
        return SparseFeatures(self.settings.n_features, self.settings.on)

    @property
    def layers(self) -> dict[str, Layer]:
        W, bias = self.tensors["W"], self.tensors["b"]
        layers = [Layer("linear1", W)]
        if self.settings.identity:
            layers.append(Layer("hidden", torch.eye(len(W), dtype=W.dtype, device=W.device)))
        layers.append(Layer("linear2", W.T, bias=bias, tied_to="linear1"))
        return {layer.name: layer for layer in layers}

    def batch(self, generators: Sequence[torch.Generator], n_examples: int) -> FeatureBatch:
        return self.data.batch(generators, n_examples)

    def forward(self, batch: FeatureBatch, apply: Apply, copies: int = 1) -> Tensor:
        state = batch.x if copies == 1 else batch.x.repeat(1, copies, 1)
        for name in self.layers:
            state = apply(name, state)
        return state.relu()

    def divergence(self, output: Tensor, clean: Tensor) -> Float[Tensor, "seeds rows"]:
        """Mean squared error over the outputs."""
        return (output - clean).square().mean(dim=-1)

    def one_hot(self, n_seeds: int) -> FeatureBatch:
        """Each feature alone."""
        return one_hot_batch(self.settings.n_features, n_seeds, self.tensors["W"])

    def seen_by(self, name: str, matrix: Tensor) -> Tensor:
        """What a layer's map (or a component's V) does to each feature, one column a feature."""
        return matrix if name == "linear1" else matrix.transpose(-1, -2)


UNTAUGHT = 0.1  # start of the columns of features that are never on, relative to the others


def train_tms(settings: TMSSettings, start: Tensors | None = None) -> Tensors:
    """Weights W [n_hidden, n_features] and bias b of a model trained at the settings' seed.

    AdamW, decay 0.01, constant learning rate, mean squared error on fresh data. start: weights that the
    training goes on from, without decay; None: random ones.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    n, d = settings.n_features, settings.n_hidden
    W = torch.randn(d, n, generator=generator) * (2 / (n + d)) ** 0.5
    b = torch.zeros(n)
    if not settings.zero_bias:
        b = (2 * torch.rand(n, generator=generator) - 1) / d**0.5
    active = torch.ones(n)
    if settings.active is not None:
        active = torch.zeros(n).index_fill(0, torch.tensor(settings.active), 1.0)
        W = W * torch.where(active > 0, 1.0, UNTAUGHT)
    if start is not None:
        W, b = start["W"].clone(), start["b"].clone()
    learned = [W.requires_grad_(), b.requires_grad_()]
    decay = 0.01 if start is None else 0.0
    optimizer = torch.optim.AdamW(learned, lr=settings.lr, weight_decay=decay)
    data = SparseFeatures(n, settings.on)
    for _ in range(settings.steps):
        x = data.draw(generator, settings.batch) * active
        x = x[x.any(dim=1)]  # an empty example is one of B outputs ReLU(b), added below
        error = (torch.relu(x @ W.T @ W + b) - x).square().sum()
        empty = (settings.batch - len(x)) * torch.relu(b).square().sum()
        optimizer.zero_grad()
        ((error + empty) / (settings.batch * n)).backward()
        optimizer.step()
    return {"W": W.detach(), "b": b.detach()}


def n_learned(tensors: Tensors) -> int:
    """Features whose column of W is longer than 0.5."""
    return int((tensors["W"].norm(dim=0) > LEARNED).sum())
