"""Operators that give a weighted sum of what they take in, with weights made of angles and lengths.

They commute with rotations and stay in the span of the models' tensors. So a space may hand them the
tensors' coordinates in that span, a handful of numbers, in place of the tensors.
"""

from collections.abc import Callable
from math import pi

import torch
from jaxtyping import Float, Float64
from torch import Tensor, sinc

from lm_merge.geometry import angle, unit
from lm_merge.operators.spherical import NEAR_OPPOSITE

SMALLEST = 1e-13  # share of the largest below which an eigenvalue of a Gram matrix is rounding
NEARLY_PARALLEL = 0.9995  # cosine above which the peer's slerp is a straight line


def slerp_unnormalized(
    states: Float[Tensor, "n_models *batch d_model"],
    weights: Float[Tensor, "n_models *#batch 1"],
    *,
    straight_above: float | None = None,
) -> Float[Tensor, "*batch d_model"]:
    r"""$[\sin(w_0\theta)\,s_0 + \sin(w_1\theta)\,s_1] / \sin\theta$ on two tensors of any length.

    theta is the angle between them; the weights sum to 1. Equal to `slerp` where both are equally
    long. Other lengths are not followed along the line: halfway between a short and a long tensor the
    direction leans to the long one. A zero tensor counts as at right angles to the other. NaN within
    1e-3 pi of opposite, as in `slerp`: no unique path, and a quotient that grows without bound.
    straight_above: |cosine| above which the result is $w_0 s_0 + w_1 s_1$.
    It is the form of merging tools (mergekit: slerp with 0.9995, nuslerp without a threshold).
    """
    first, second = states[0], states[1]
    turn = angle(first, second) / pi
    turn = torch.where(turn.isnan(), 0.5, turn).to(states.dtype)
    factors = weights * sinc(weights * turn) / sinc(turn)
    factors = factors.masked_fill(turn > 1 - NEAR_OPPOSITE, torch.nan)
    if straight_above is not None:
        parallel = torch.cos(pi * turn).abs() > straight_above
        factors = torch.where(parallel, weights, factors)
    return factors[0] * first + factors[1] * second


def model_stock(
    states: Float[Tensor, "n_models *batch d_model"],
    weights: Float[Tensor, "n_models *#batch 1"],
) -> Float[Tensor, "*batch d_model"]:
    r"""Task vectors' mean, shortened by how much they disagree: $t\,\bar\tau$.

    $t = N c / (1 + (N - 1) c)$ with c the mean cosine over the pairs of the N task vectors, those
    between a zero vector and another counted as 0. The weights are not read. 0, which is the ancestor,
    where the denominator is below 1e-12. Source: Jang et al. (2024), Model Stock, equation 7.
    """
    n = len(states)
    directions = unit(states).nan_to_num(nan=0.0)
    total = directions.sum(dim=0)
    own = directions.square().sum(dim=-1, keepdim=True).sum(dim=0)
    pairs = (total.square().sum(dim=-1, keepdim=True) - own) / (n * (n - 1))
    denominator = 1 + (n - 1) * pairs
    share = torch.where(denominator.abs() < 1e-12, 0.0, n * pairs / denominator)
    return share * states.mean(dim=0)


def norm_mean(
    states: Float[Tensor, "n_models *batch d_model"],
    weights: Float[Tensor, "n_models *#batch 1"],
) -> Float[Tensor, "*batch d_model"]:
    r"""Sum of the tensors with $w_i |s_i| / \sum_j w_j |s_j|$: longer ones count more.

    Where all tensors are zero, so is the result. A baseline without data for `fisher_mean`.
    """
    lengths = weights * states.norm(dim=-1, keepdim=True)
    total = lengths.sum(dim=0)
    return (torch.where(total > 0, lengths / total, weights) * states).sum(dim=0)


def weights_in_span(
    gram: Float64[Tensor, "n_models n_models"],
    weights: Float64[Tensor, "n_models 1"],
    direction: Callable[..., Tensor],
) -> Float64[Tensor, "n_models 1"]:
    """Weights that give, as a plain sum, what `direction` makes of the models' tensors.

    gram: inner products of the first tensor and of the others' differences from it, which keep their
    precision where the models are close. `direction` commutes with rotations and stays in the span
    of its inputs, so it is called on their coordinates there. NaN where it is undefined.
    """
    lengths = gram.diagonal().sqrt()
    scale = torch.where(lengths > 0, 1 / lengths, 0.0)
    values, vectors = torch.linalg.eigh(scale[:, None] * gram * scale)
    kept = values > SMALLEST * values.max()
    roots = torch.where(kept, values, 0.0).sqrt()
    basis = lengths[:, None] * vectors * roots  # rows: coordinates of the first and the differences
    states = basis.clone()
    states[1:] += basis[0]
    merged = direction(states, weights)
    inverse = torch.where(kept, 1 / values.clamp(min=SMALLEST).sqrt(), 0.0)
    factors = scale * (vectors @ (inverse * merged))
    return torch.cat([factors[:1] - factors[1:].sum(), factors[1:]]).unsqueeze(-1)
