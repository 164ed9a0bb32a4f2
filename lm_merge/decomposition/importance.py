"""Gates: small learned functions that say how much an input needs each component."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import gelu

from lm_merge.decomposition.components import Factors, Tensors, normal

CHUNK = 2**16  # values of a hidden layer at a time: they stay in the processor's cache


class _ScalarGate(torch.autograd.Function):
    """One function of one number for each component, in chunks of components.

    h [n, rows]; w_in, b_in, w_out [n, width]. Rows are the last axis of a hidden layer, along which all
    products and sums run fast.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor) -> Tensor:
        z, kept = torch.empty_like(h), []
        for part in _chunks(h, w_in):
            kept.append(gelu(_hidden(h[part], w_in[part], b_in[part])))
            torch.matmul(w_out[part, None], kept[-1], out=z[part].unsqueeze(1))
        ctx.save_for_backward(h, w_in, b_in, w_out, *kept)
        return z

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        h, w_in, b_in, w_out, *kept = ctx.saved_tensors
        to_z = gradients[0].contiguous()
        to_h = torch.empty_like(h)
        to_in, to_bias, to_out = (torch.empty_like(w_in) for _ in range(3))
        for part, activation in zip(_chunks(h, w_in), kept, strict=True):
            hidden = _hidden(h[part], w_in[part], b_in[part])
            torch.sum(activation * to_z[part, None], dim=2, out=to_out[part])
            to_activation = to_z[part, None] * w_out[part, :, None]
            to_hidden = torch.ops.aten.gelu_backward(to_activation, hidden)
            torch.sum(to_hidden, dim=2, out=to_bias[part])
            torch.matmul(w_in[part, None], to_hidden, out=to_h[part].unsqueeze(1))
            torch.sum(to_hidden.mul_(h[part, None]), dim=2, out=to_in[part])
        return to_h, to_in, to_bias, to_out


def _hidden(h: Tensor, w_in: Tensor, b_in: Tensor) -> Tensor:
    return (w_in.unsqueeze(-1) * h.unsqueeze(1)).add_(b_in.unsqueeze(-1))


def _chunks(h: Tensor, w_in: Tensor) -> list[slice]:
    size = max(1, CHUNK // max(1, h.shape[1] * w_in.shape[1]))
    return [slice(start, start + size) for start in range(0, len(h), size)]


Inputs = Mapping[str, Tensor]  # what the target's layers take, by name
Scores = dict[str, Float[Tensor, "seeds rows n_components"]]


def scalar(
    tensors: Tensors, factors: Mapping[str, Factors], inputs: Inputs, inner: Scores
) -> Scores:
    """z_c = w_out . GELU(w_in h_c + b_in) + b_out, of each component's own inner activation."""
    scores = {}
    for name, h in inner.items():
        w_in, b_in, w_out, b_out = (tensors[f"{name}.gate.{key}"] for key in SCALAR)
        (seeds, n, width), rows = w_in.shape, h.shape[1]
        flat = (one.reshape(seeds * n, width) for one in (w_in, b_in, w_out))
        columns = h.transpose(1, 2).reshape(seeds * n, rows)
        z: Any = _ScalarGate.apply(columns, *flat)
        scores[name] = z.view(seeds, n, rows).transpose(1, 2) + b_out.unsqueeze(1)
    return scores


def vector(
    tensors: Tensors, factors: Mapping[str, Factors], inputs: Inputs, inner: Scores
) -> Scores:
    """An MLP for each component, all of which read the layer's whole input."""
    scores = {}
    for name in inner:
        w_in, b_in, w_out, b_out = (tensors[f"{name}.gate.{key}"] for key in SCALAR)
        seeds, n, width, d_in = w_in.shape
        a = _dense_input(factors[name], inputs[name])
        hidden = a @ w_in.reshape(seeds, n * width, d_in).transpose(1, 2)
        hidden = gelu(hidden.unflatten(-1, (n, width)) + b_in.unsqueeze(1))
        scores[name] = (hidden * w_out.unsqueeze(1)).sum(-1) + b_out.unsqueeze(1)
    return scores


def shared(
    tensors: Tensors, factors: Mapping[str, Factors], inputs: Inputs, inner: Scores
) -> Scores:
    """One MLP a layer, from the layer's whole input to the scores of all its components."""
    return {
        name: _mlp(tensors, f"{name}.gate", _dense_input(factors[name], inputs[name]))
        for name in inner
    }


def all_layers(
    tensors: Tensors, factors: Mapping[str, Factors], inputs: Inputs, inner: Scores
) -> Scores:
    """One MLP for all layers, from all their inputs to the scores of all components."""
    joined = torch.cat([_dense_input(factors[name], inputs[name]) for name in inner], dim=-1)
    parts = _mlp(tensors, "gate", joined).split([h.shape[-1] for h in inner.values()], dim=-1)
    return dict(zip(inner, parts, strict=True))


def _mlp(tensors: Tensors, prefix: str, a: Tensor) -> Tensor:
    w_in, b_in, w_out, b_out = (tensors[f"{prefix}.{key}"] for key in SCALAR)
    return gelu(a @ w_in + b_in.unsqueeze(1)) @ w_out + b_out.unsqueeze(1)


def _dense_input(factors: Factors, a: Tensor) -> Tensor:
    if not factors.layer.embedding:
        return a
    raise ValueError(
        f"layer {factors.layer.name!r} takes token ids, which only the gate 'scalar' can read"
    )


SCALAR = ("w_in", "b_in", "w_out", "b_out")


@dataclass(frozen=True)
class Gate:
    """How scores are computed, and the shapes of what is learned for it.

    shapes: (inputs, components, width) of one layer, or of all together -> shapes of w_in, b_in, w_out.
    """

    scores: Callable[[Tensors, Mapping[str, Factors], Inputs, Scores], Scores]
    shapes: Callable[[int, int, int], tuple[tuple[int, ...], ...]]
    by_layer: bool = True
    fan_in: Callable[[int], int] = lambda d_in: d_in


GATES: dict[str, Gate] = {
    "global": Gate(all_layers, lambda d, n, w: ((d, w), (w,), (w, n)), by_layer=False),
    "scalar": Gate(scalar, lambda d, n, w: ((n, w), (n, w), (n, w)), fan_in=lambda d_in: 1),
    "shared": Gate(shared, lambda d, n, w: ((d, w), (w,), (w, n))),
    "vector": Gate(vector, lambda d, n, w: ((n, w, d), (n, w), (n, w))),
}


def new_gates(
    gate: Gate, width: int, factors: Mapping[str, Factors], generators: Sequence[torch.Generator]
) -> Tensors:
    """Random w_in ~ N(0, 2 / inputs) and w_out ~ N(0, 1 / width); biases 0."""
    sizes = {name: (one.V.shape[2], one.V.shape[1]) for name, one in factors.items()}
    if not gate.by_layer:
        sizes = {"": tuple(map(sum, zip(*sizes.values(), strict=True)))}
    like = next(iter(factors.values())).U
    tensors: Tensors = {}
    for name, (d_in, n) in sizes.items():
        prefix = f"{name}.gate".lstrip(".")
        w_in, b_in, w_out = gate.shapes(d_in, n, width)
        std = (2 / gate.fan_in(d_in)) ** 0.5
        tensors[f"{prefix}.w_in"] = normal(w_in, std, generators, like)
        tensors[f"{prefix}.b_in"] = like.new_zeros(len(generators), *b_in)
        tensors[f"{prefix}.w_out"] = normal(w_out, width**-0.5, generators, like)
        tensors[f"{prefix}.b_out"] = like.new_zeros(len(generators), n)
    return tensors
