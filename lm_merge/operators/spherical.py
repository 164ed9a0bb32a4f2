"""Operators that follow the sphere of directions and treat length apart."""

from math import pi

import torch
from jaxtyping import Float
from torch import Tensor, sinc

from lm_merge.geometry import angle, exp_map, log_map, unit

NEAR_OPPOSITE = 1e-3  # of a half-turn: closer than this to opposite there is no one path
KARCHER_STEPS = (
    24  # fixed, so that no step waits for the device; each shrinks the error several-fold
)


def slerp(
    states: Float[Tensor, "n_models *batch d_model"],
    weights: Float[Tensor, "n_models *#batch 1"],
) -> Float[Tensor, "*batch d_model"]:
    r"""Interpolate direction along the sphere and length along the line.

    Two models: the great circle,
    $m = \ell\,[\sin(w_0\theta)\,\hat s_0 + \sin(w_1\theta)\,\hat s_1] / \sin\theta$ with
    $\ell = w_0\|s_0\| + w_1\|s_1\|$. More: the weighted spherical (Karcher) mean.
    The weights sum to 1. NaN for a zero vector and within 1e-3 pi of opposite: no unique path.

    Source: Shoemake (1985) for the direction; the length rule is the latent-merging paper's
    (OpenReview ocEoHCrezd). Its code turns to a straight line at small angles; here the quotient of
    sines is one of `sinc`, exact down to angle 0.

    >>> import torch
    >>> states = torch.tensor([[2.0, 0.0], [0.0, 4.0]])  # at right angles, of length 2 and 4
    >>> slerp(states, torch.tensor([[0.5], [0.5]]))  # at 45 degrees, of length 3
    tensor([2.1213, 2.1213])
    """
    if len(states) > 2:
        return karcher_mean(states, weights)
    first, second = states[0], states[1]
    first_weight, second_weight = weights[0], weights[1]
    turn = angle(first, second) / pi  # in half-turns, so that sinc needs no special case at 0
    first_norm, second_norm = first.norm(dim=-1, keepdim=True), second.norm(dim=-1, keepdim=True)
    length = (first_weight * first_norm + second_weight * second_norm) / sinc(turn)
    length = length.masked_fill(turn > 1 - NEAR_OPPOSITE, torch.nan)
    first_factor = length * first_weight * sinc(first_weight * turn) / first_norm
    second_factor = length * second_weight * sinc(second_weight * turn) / second_norm
    return first_factor * first + second_factor * second


def karcher_mean(
    states: Float[Tensor, "n_models *batch d_model"],
    weights: Float[Tensor, "n_models *#batch 1"],
    *,
    max_iter: int = KARCHER_STEPS,
    tol: float | None = None,
) -> Float[Tensor, "*batch d_model"]:
    r"""Weighted spherical mean of the directions, at the weighted mean length.

    The direction minimises $\sum_i w_i\,\theta(\mu, s_i)^2$: gradient steps
    $\mu \leftarrow \exp_\mu(\sum_i w_i \log_\mu \hat s_i)$ from the normalised sum (Karcher 1977;
    Buss and Fillmore 2001). For two models it is `slerp`. NaN where the directions cancel.
    max_iter: steps at most; tol: stop before a step that is shorter (radians), which waits for the
    device at each step; None takes all steps.

    >>> import torch
    >>> karcher_mean(torch.eye(3), torch.full((3, 1), 1 / 3))
    tensor([0.5774, 0.5774, 0.5774])
    """
    norms = states.norm(dim=-1, keepdim=True)
    directions = states / norms
    mean = unit((weights * directions).sum(dim=0))
    for _ in range(max_iter):
        tangents = torch.stack([log_map(mean, direction) for direction in directions])
        # a model without weight takes no part, not even where its own direction has no logarithm
        step = torch.where(weights == 0, 0.0, weights * tangents).sum(dim=0)
        if tol is not None and bool((step.norm(dim=-1) < tol).all()):
            break
        mean = exp_map(mean, step)
    return (weights * norms).sum(dim=0) * mean
