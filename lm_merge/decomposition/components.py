"""A target's linear maps as sums of rank-1 components and a remainder, several seeds at once.

Every learned tensor has the seeds as its leading axis, so that one batched product serves all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from jaxtyping import Float, Int
from torch import Tensor

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Layer:
    """One linear map of a target, frozen.

    weight: what is decomposed. fixed: a map that is always added and never decomposed (the base of a
    fine-tuning update). bias: is copied. tied_to: name of a layer that has the transposed weight; both
    then share one U and V. embedding: the input is a token id, that is, a one-hot vector.
    """

    name: str
    weight: Float[Tensor, "d_out d_in"]
    bias: Float[Tensor, " d_out"] | None = None
    fixed: Float[Tensor, "d_out d_in"] | None = None
    tied_to: str | None = None
    embedding: bool = False

    def full_map(self, a: Tensor) -> Tensor:
        """The decomposed map as it is in the target, without bias and fixed part."""
        return _map(self.weight, a, self.embedding)

    def always(self, a: Tensor) -> Tensor | None:
        """Fixed part and bias, which no mask changes; None where there is neither."""
        if self.fixed is None:
            return self.bias
        kept = _map(self.fixed, a, self.embedding)
        return kept if self.bias is None else kept + self.bias

    def clean(self, a: Tensor) -> Tensor:
        """The layer's output in the target."""
        always = self.always(a)
        return self.full_map(a) if always is None else self.full_map(a) + always


def _map(weight: Tensor, a: Tensor, embedding: bool) -> Tensor:
    return weight.T[a] if embedding else a @ weight.T


@dataclass(frozen=True)
class Factors:
    """U and V of one layer for all seeds, W ~ U V."""

    layer: Layer
    U: Float[Tensor, "seeds d_out n_components"]
    V: Float[Tensor, "seeds n_components d_in"]

    def inner(self, a: Tensor) -> Float[Tensor, "seeds rows n_components"]:
        """Inner activations h_c = v_c . a."""
        if self.layer.embedding:
            seeds = torch.arange(len(a), device=a.device).unsqueeze(-1)
            return self.V.transpose(1, 2)[seeds, a]
        return a @ self.V.transpose(1, 2)

    def masked(
        self,
        a: Tensor,
        mask: Float[Tensor, "seeds rows n_components"],
        rest: Float[Tensor, "seeds rows 1"],
    ) -> Float[Tensor, "seeds rows d_out"]:
        """Output of the decomposed map with components times `mask` and the remainder times `rest`.

        U (m V a) + r (W - U V) a, computed as U ((m - r) V a) + r W a: all ones give W a exactly.
        Without bias and fixed part.
        """
        through = ((mask - rest) * self.inner(a)) @ self.U.transpose(1, 2)
        return torch.addcmul(through, rest, self.layer.full_map(a))

    def faithfulness(self) -> Float[Tensor, " seeds"]:
        """Sum of squares of the remainder W - U V."""
        return (self.layer.weight - self.U @ self.V).square().sum(dim=(1, 2))

    def norms(self) -> Float[Tensor, "seeds n_components"]:
        """Frobenius norm of each component, |u_c| |v_c|."""
        return self.U.norm(dim=1) * self.V.norm(dim=2)


def factors_of(layers: Mapping[str, Layer], tensors: Tensors) -> dict[str, Factors]:
    """U and V of every layer, by name; a tied layer's are the other's, transposed and exchanged."""
    found = {}
    for name, layer in layers.items():
        if layer.tied_to is None:
            found[name] = Factors(layer, tensors[f"{name}.U"], tensors[f"{name}.V"])
        else:
            U, V = tensors[f"{layer.tied_to}.U"], tensors[f"{layer.tied_to}.V"]
            found[name] = Factors(layer, V.transpose(1, 2), U.transpose(1, 2))
    return found


def n_components_of(layers: Sequence[str], counts: int | Mapping[str, int]) -> dict[str, int]:
    """Components of each layer: one number for all, or the first pattern that fits a layer's name.

    Raises ValueError for a layer that no pattern fits and a pattern that fits no layer.
    """
    if isinstance(counts, int):
        return dict.fromkeys(layers, counts)
    fitting = {name: [one for one in counts if fnmatchcase(name, one)] for name in layers}
    without = [name for name, patterns in fitting.items() if not patterns]
    unused = [one for one in counts if not any(one in patterns for patterns in fitting.values())]
    if without or unused:
        raise ValueError(
            f"components={dict(counts)}: no pattern fits the layers {without} and no layer fits the "
            f"patterns {unused}; the layers are {list(layers)}"
        )
    return {name: counts[patterns[0]] for name, patterns in fitting.items()}


def new_components(
    layers: Mapping[str, Layer], counts: Mapping[str, int], generators: Sequence[torch.Generator]
) -> Tensors:
    """Random U ~ N(0, 1/C) and V ~ N(0, 1/d_in) of every layer that is not tied to another."""
    tensors: Tensors = {}
    for name, layer in layers.items():
        if layer.tied_to is not None:
            if counts[name] != counts[layer.tied_to]:
                raise ValueError(
                    f"components: {name} has {counts[name]} and {layer.tied_to}, whose weight it "
                    f"shares, {counts[layer.tied_to]}; give both the same number"
                )
            continue
        (d_out, d_in), n = layer.weight.shape, counts[name]
        tensors[f"{name}.U"] = normal((d_out, n), n**-0.5, generators, layer.weight)
        tensors[f"{name}.V"] = normal((n, d_in), d_in**-0.5, generators, layer.weight)
    return tensors


def normal(
    shape: tuple[int, ...], std: float, generators: Sequence[torch.Generator], like: Tensor
) -> Tensor:
    """Normal draws, one generator for each seed, in the dtype and on the device of `like`."""
    drawn = [torch.randn(shape, generator=one, device=one.device) for one in generators]
    return std * torch.stack(drawn).to(like.device, like.dtype)


def check_token_ids(ids: Int[Tensor, "..."], layer: Layer) -> None:
    """Raise ValueError for a token id without a column in the embedding."""
    top = int(ids.max())
    if top >= layer.weight.shape[1]:
        raise ValueError(
            f"token id {top} is outside 0..{layer.weight.shape[1] - 1} of {layer.name}"
        )
