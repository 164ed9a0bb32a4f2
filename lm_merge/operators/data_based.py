"""Operators that weigh parameters by statistics of data."""

import torch
from jaxtyping import Float
from torch import Tensor

NEARLY_SINGULAR = (
    1e-6  # share of the largest below which an eigenvalue of a float32 sum is rounding
)


def gram_mean(
    states: Float[Tensor, "n_models d_out d_in"],
    grams: Float[Tensor, "n_models d_in d_in"],
    weights: Float[Tensor, " n_models"] | None = None,
    *,
    off_diagonal: float = 0.9,
) -> Float[Tensor, "d_out d_in"]:
    r"""RegMean of linear layers: the matrix that answers most like each model on its own inputs.

    $\left(\sum_i w_i W_i G_i\right)\left(\sum_i w_i G_i\right)^{-1}$ with $G_i = X_i^\top X_i$ the Gram
    matrix of layer inputs, minimises $\sum_i w_i \|X_i W^\top - X_i W_i^\top\|^2$. weights: positive
    or 0, with a sum of 1; equal ones if None. `off_diagonal` in
    [0, 1] scales what is off the diagonals of G, for stability. Where the sum is singular, its
    pseudo-inverse acts on the models' differences from their mean, so that inputs which no data
    showed get the mean. Source: Jin et al. (2023), "Dataless Knowledge Fusion", equation 2.
    """
    diagonal = torch.diag_embed(grams.diagonal(dim1=-2, dim2=-1))
    scaled = off_diagonal * grams + (1 - off_diagonal) * diagonal
    if weights is None:
        mean = states.mean(dim=0)
    else:
        by_model = weights.to(states).view(-1, 1, 1)
        mean, scaled = (by_model * states).sum(dim=0), by_model * scaled
    asked = ((states - mean) @ scaled).sum(dim=0)
    total = scaled.sum(dim=0)
    factor, failed = torch.linalg.cholesky_ex(total)
    pivots = factor.diagonal().square()
    if failed or pivots.min() < NEARLY_SINGULAR * pivots.max():
        inverse = torch.linalg.pinv(total, rtol=NEARLY_SINGULAR, hermitian=True)
        return mean + asked @ inverse
    return mean + torch.cholesky_solve(asked.mT, factor).mT


def fisher_mean(
    states: Float[Tensor, "n_models *batch d_model"],
    fishers: Float[Tensor, "n_models *batch d_model"],
    weights: Float[Tensor, " n_models"] | None = None,
) -> Float[Tensor, "*batch d_model"]:
    r"""Elementwise $\sum_i w_i F_i s_i / \sum_i w_i F_i$ with F the diagonal Fisher information, >= 0.

    weights: at least 0, with a sum of 1; equal ones if None. Where no model has any information, their
    weighted mean. Source: Matena and Raffel (2022), equation 6.
    """
    rest: Tensor | float = 1 / len(states)
    if weights is not None:
        rest = weights.to(fishers).view(-1, *[1] * (fishers.ndim - 1))
        fishers = rest * fishers
    total = fishers.sum(dim=0)
    shares = torch.where(total > 0, fishers / total, rest)
    return (shares * states).sum(dim=0)
