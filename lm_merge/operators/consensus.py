"""Adding task vectors only where they agree in sign."""

import torch
from jaxtyping import Float
from torch import Tensor


def agreeing_sum(
    states: Float[Tensor, "n_models *batch d_model"],
    weights: Float[Tensor, "n_models *#batch 1"],
    *,
    normalize: bool = True,
) -> Float[Tensor, "*batch d_model"]:
    r"""TIES' election and disjoint merge of task vectors $\tau_i$, element by element.

    The sign of $\sum_i w_i \tau_i$ is elected (0 elects +); the result is the sum of the
    $w_i \tau_i$ with that sign, divided, with `normalize`, by the sum of their weights. A value of 0
    takes no part. 0 where nobody agrees, and undivided where the agreeing weights sum to 0.
    Source: Yadav et al. (2023), TIES-Merging, section 4; there all weights are 1.
    """
    weighted = weights * states
    elected = weighted.sum(dim=0) >= 0
    agrees = torch.where(elected, weighted > 0, weighted < 0)
    total = weighted.masked_fill_(~agrees, 0.0).sum(dim=0)
    if not normalize:
        return total
    share = (agrees * weights).sum(dim=0)
    return total / share.masked_fill_(share == 0, 1.0)
