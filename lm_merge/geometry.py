"""Directions, lengths and angles of residual-stream vectors."""

import torch
from jaxtyping import Float
from torch import Tensor


def unit(x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """Direction of each vector, of length 1; NaN for a zero vector."""
    return x / x.norm(dim=-1, keepdim=True)


def angle(
    x: Float[Tensor, "*batch d_model"], y: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch 1"]:
    r"""Angle between paired vectors in radians, in [0, pi]; NaN for a zero vector.

    $\theta = 2\,\mathrm{atan2}(\|\hat x - \hat y\|, \|\hat x + \hat y\|)$, Kahan (2006), "How Futile
    are Mindless Assessments of Roundoff", section 12. Unlike the arccosine of a dot product it keeps
    its relative precision at small angles.
    """
    x_hat, y_hat = unit(x), unit(y)
    chord = (x_hat - y_hat).norm(dim=-1, keepdim=True)
    return 2 * torch.atan2(chord, (x_hat + y_hat).norm(dim=-1, keepdim=True))


def cosine(
    x: Float[Tensor, "*batch d_model"], y: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch 1"]:
    """Cosine of the angle between paired vectors, in [-1, 1]; NaN for a zero vector."""
    return (unit(x) * unit(y)).sum(dim=-1, keepdim=True)


def log_map(
    point: Float[Tensor, "*#batch d_model"], x: Float[Tensor, "*#batch d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """Tangent vector at a unit `point` that leads along the sphere to the unit vector `x`.

    Its length is the angle in radians; NaN opposite the point, where no direction is unique.
    """
    along = (point * x).sum(dim=-1, keepdim=True)
    aside = x - along * point
    length = aside.norm(dim=-1, keepdim=True)
    turn = torch.atan2(length, along)
    divisor = length.masked_fill(length == 0, 1.0)  # a NaN here would reach every gradient
    scale = torch.where(length > 0, turn / divisor, torch.where(along > 0, 1.0, torch.nan))
    return scale.to(x.dtype) * aside


def exp_map(
    point: Float[Tensor, "*batch d_model"], tangent: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """Unit vector reached from a unit `point` along a tangent vector of length in radians."""
    length = tangent.norm(dim=-1, keepdim=True)
    return unit(torch.cos(length) * point + torch.sinc(length / torch.pi) * tangent)
