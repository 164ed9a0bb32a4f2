"""A value with its first and second derivative along one direction, through any torch function."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Jet(NamedTuple):
    """Value, first and second derivative with respect to one number; tensors of one shape."""

    value: Tensor
    first: Tensor
    second: Tensor


def jet(
    function: Callable[[Tensor], Tensor],
    value: Float[Tensor, "*shape"],
    first: Float[Tensor, "*shape"],
    second: Float[Tensor, "*shape"] | None = None,
) -> Jet:
    r"""The jet of $u \mapsto f(x(u))$ at 0 for a path with $x = $ value, $x' = $ first, $x'' = $ second.

    Forward over forward differentiation: $f'(u) = J x'$ and $f''(u) = D^2 f[x', x'] + J x''$, exact up
    to rounding; about four times the work and memory of the function alone, and no Hessian. A
    straight path has second = None. Nothing is kept for reverse mode. The function runs inside
    `TwiceDifferentiable`; fused attention (SDPA) has no second forward derivative, so a model needs
    eager attention.
    """

    def slope(x: Tensor, v: Tensor) -> Any:
        return jvp(function, (x,), (v,))

    first = first.contiguous()  # an expanded tensor cannot be a tangent
    bend = torch.zeros_like(first) if second is None else second.contiguous()
    with torch.no_grad(), _InJet():
        found: Any = jvp(slope, (value, first), (first, bend))
    (at, along), (_, curved) = found
    return Jet(at, along, curved)


class TwiceDifferentiable(TorchFunctionMode):
    """Inside, forward derivatives of forward derivatives go through any decoder, in its full dtype.

    Written out, which changes them by rounding only: SiLU and GELU, whose fused forms torch
    differentiates forward only once, and LayerNorm, whose second forward derivative comes out wrong
    in torch 2.13 without an error (by half of its size on a GPT-2; a test holds ours). Casts of
    float64 to float32, which many families make inside norms and attention, are left out, so that a
    float64 model is float64 throughout.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _WRITTEN_OUT:
            return _WRITTEN_OUT[func](*args, **kwargs)
        if args and isinstance(args[0], Tensor) and args[0].dtype == torch.float64:
            if func is Tensor.float:
                return args[0]
            if func is Tensor.to:
                args = tuple(torch.float64 if one is torch.float32 else one for one in args)
            if kwargs.get("dtype") is torch.float32:
                kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


class _InJet(TwiceDifferentiable):
    """What `jet` runs in: also, a parameter that is the weight of a linear map is a constant.

    torch's own rule multiplies by the zero derivatives of the weight: 13 products for 4.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.linear:
            weight = args[1] if len(args) > 1 else (kwargs or {}).get("weight")
            if isinstance(weight, nn.Parameter):
                return _linear(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


class _LinearInInput(torch.autograd.Function):
    """x -> x W^T, differentiable forward in x alone, any number of times."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear(x, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return _LinearInInput.apply(tangents[0], ctx.saved_tensors[0])


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002
    moved: Any = _LinearInInput.apply(input, weight)
    return moved if bias is None else moved + bias


def _silu(x: Tensor, inplace: bool = False) -> Tensor:
    return x * torch.sigmoid(x)


def _gelu(x: Tensor, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        return x / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x / 2 * (1 + torch.erf(x / math.sqrt(2)))


def _layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    normed = centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + eps)
    normed = normed if weight is None else normed * weight
    return normed if bias is None else normed + bias


_WRITTEN_OUT: dict[Callable[..., Any], Callable[..., Tensor]] = {
    functional.silu: _silu,
    functional.gelu: _gelu,
    functional.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
}
