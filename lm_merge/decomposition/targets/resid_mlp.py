"""MLP layers on a residual stream that compute x + ReLU(x) with fewer neurons than features."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.accumulation import wide
from lm_merge.decomposition.components import Layer, Tensors
from lm_merge.decomposition.masked import Apply
from lm_merge.decomposition.targets.settings import ResidMLPSettings
from lm_merge.decomposition.targets.sparse_features import (
    FeatureBatch,
    SparseFeatures,
    one_hot_batch,
)


@dataclass(frozen=True)
class ResidMLPTarget:
    """h = x W_E; h += W_out ReLU(W_in h) for each layer; output h W_E^T.

    The stream is held in an orthonormal basis of what can be in it and read from it: x W_E, and what
    all layers but the last write. In those coordinates the function is the same and the matrices are
    smaller, about 100 instead of 1000 wide; what no input reaches and no output reads is left out.
    """

    settings: ResidMLPSettings
    embed: Float[Tensor, "n_features width"]
    maps: dict[str, Float[Tensor, "d_out d_in"]]

    @staticmethod
    def of(settings: ResidMLPSettings, tensors: Tensors) -> "ResidMLPTarget":
        """The target in the stream's own basis, from weights as `train_resid_mlp` gives them."""
        embed, layers = tensors["W_E"], range(settings.n_layers)
        written = [tensors[f"layers.{i}.W_out"].T for i in layers[:-1]]
        spanned = torch.linalg.qr(wide(torch.cat([embed, *written])).T).Q.to(embed)
        maps = {}
        for i in layers:
            maps[f"layers.{i}.mlp_in"] = tensors[f"layers.{i}.W_in"] @ spanned
            maps[f"layers.{i}.mlp_out"] = spanned.T @ tensors[f"layers.{i}.W_out"]
        return ResidMLPTarget(settings, embed @ spanned, maps)

    @property
    def layers(self) -> dict[str, Layer]:
        return {name: Layer(name, weight) for name, weight in self.maps.items()}

    @property
    def data(self) -> SparseFeatures:
        return SparseFeatures(self.settings.n_features, self.settings.on, low=-1.0)

    def batch(self, generators: Sequence[torch.Generator], n_examples: int) -> FeatureBatch:
        return self.data.batch(generators, n_examples)

    def forward(self, batch: FeatureBatch, apply: Apply, copies: int = 1) -> Tensor:
        stream = batch.x @ self.embed
        stream = stream if copies == 1 else stream.repeat(1, copies, 1)
        for i in range(self.settings.n_layers):
            neurons = apply(f"layers.{i}.mlp_in", stream).relu()
            stream = stream + apply(f"layers.{i}.mlp_out", neurons)
        return stream @ self.embed.T

    def divergence(self, output: Tensor, clean: Tensor) -> Float[Tensor, "seeds rows"]:
        """Mean squared error over the outputs."""
        return (output - clean).square().mean(dim=-1)

    def one_hot(self, n_seeds: int) -> FeatureBatch:
        """Each feature alone."""
        return one_hot_batch(self.settings.n_features, n_seeds, self.embed)

    def seen_by(self, name: str, matrix: Tensor) -> Tensor:
        """What an input matrix (or a component's V) does to each feature, one column a feature."""
        return matrix @ self.embed.T if name.endswith("mlp_in") else matrix


def train_resid_mlp(settings: ResidMLPSettings) -> Tensors:
    """W_E (fixed, unit rows), W_in and W_out of each layer, trained at the settings' seed.

    AdamW, decay 0.01, cosine learning rate, mean squared error to x + ReLU(x). The stream itself is
    never formed: products of the matrices that write it and those that read it give the same function
    and the same gradients.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    shape = (settings.n_features, settings.d_model)
    embed = torch.nn.functional.normalize(torch.randn(shape, generator=generator), dim=1)
    tensors: Tensors = {"W_E": embed}
    for i in range(settings.n_layers):
        for name, d_out, d_in in (
            ("W_in", settings.n_neurons, settings.d_model),
            ("W_out", settings.d_model, settings.n_neurons),
        ):
            drawn = torch.randn(d_out, d_in, generator=generator) * d_in**-0.5
            tensors[f"layers.{i}.{name}"] = drawn.requires_grad_()
    learned = [tensor for tensor in tensors.values() if tensor.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=settings.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: math.cos(math.pi / 2 * step / max(1, settings.steps - 1))
    )
    data = SparseFeatures(settings.n_features, settings.on, low=-1.0)
    for _ in range(settings.steps):
        x = data.draw(generator, settings.batch)
        x = x[x.any(dim=1)]
        error = (_output(settings, tensors, x) - x - x.relu()).square().sum()
        optimizer.zero_grad()
        (error / (settings.batch * settings.n_features)).backward()
        optimizer.step()
        schedule.step()
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _output(settings: ResidMLPSettings, tensors: Tensors, x: Tensor) -> Tensor:
    writes, states = [tensors["W_E"]], [x]  # the stream is the sum of state @ write
    for i in range(settings.n_layers):
        W_in, W_out = tensors[f"layers.{i}.W_in"], tensors[f"layers.{i}.W_out"]
        pairs = zip(states, writes, strict=True)
        neurons = torch.stack([state @ (write @ W_in.T) for state, write in pairs]).sum(dim=0)
        states.append(neurons.relu())
        writes.append(W_out.T)
    pairs = zip(states, writes, strict=True)
    return torch.stack([state @ (write @ tensors["W_E"].T) for state, write in pairs]).sum(dim=0)
