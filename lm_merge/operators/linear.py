"""Operators that follow straight lines."""

from jaxtyping import Float
from torch import Tensor


def lerp(
    states: Float[Tensor, "n_models *batch d_model"],
    weights: Float[Tensor, "n_models *#batch 1"],
) -> Float[Tensor, "*batch d_model"]:
    r"""Weighted sum $\sum_i w_i s_i$ of the models' states; with weights that sum to 1, their mean.

    >>> import torch
    >>> states = torch.tensor([[2.0, 0.0], [0.0, 4.0]])  # host, donor
    >>> lerp(states, torch.tensor([[0.75], [0.25]]))
    tensor([1.5000, 1.0000])
    """
    return (weights * states).sum(dim=0)


def regmean(
    states: Float[Tensor, "n_models *batch d_model"],
    weights: Float[Tensor, "n_models *#batch 1"],
) -> Float[Tensor, "*batch d_model"]:
    r"""Regularised mean of the donors, pulled to the host; host first.

    With donor weights $w_i$, their sum $\beta = \sum_i w_i$ and the donors' mean
    $\bar d = \sum_i w_i d_i / \beta$:
    $m = h + \beta(\bar d - h) = \arg\min_m \|m - \bar d\|^2 + \lambda\|m - h\|^2$,
    $\beta = 1 / (1 + \lambda)$. The host's own weight is not read; beta replaces it.

    With weights that sum to 1 it equals `lerp`, for any number of donors. It is the "RegMean" of the
    latent-merging paper (OpenReview ocEoHCrezd) and not that of Jin et al. (2023), which weights
    parameters by Gram matrices of their inputs and lives in weight space.

    >>> import torch
    >>> states = torch.tensor([[2.0, 0.0], [0.0, 4.0], [0.0, 8.0]])  # host, two donors
    >>> regmean(states, torch.tensor([[0.5], [0.25], [0.25]]))
    tensor([1., 3.])
    """
    host, donors, shares = states[0], states[1:], weights[1:]
    return host + (shares * (donors - host)).sum(dim=0)


def task_vector(
    states: Float[Tensor, "n_models *batch d_model"],
    weights: Float[Tensor, "n_models *#batch 1"],
    *,
    base: Float[Tensor, "*batch d_model"],
) -> Float[Tensor, "*batch d_model"]:
    r"""The host plus what each donor added to a common ancestor: $h + \sum_i w_i (d_i - b)$.

    `base` is the ancestor's stream. At weight 1 the result is $h + d - b$, not the donor. With the
    host as ancestor it is `lerp`. After Ilharco et al. (2023), who do it to weights.

    >>> import torch
    >>> states = torch.tensor([[2.0, 0.0], [0.0, 4.0]])  # host, donor
    >>> task_vector(states, torch.tensor([[0.5], [0.5]]), base=torch.tensor([0.0, 1.0]))
    tensor([2.0000, 1.5000])
    """
    host, donors, shares = states[0], states[1:], weights[1:]
    return host + (shares * (donors - base)).sum(dim=0)
