"""The two leaky versions of clipping to [0, 1]: one for masks, one for the penalty."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

LEAK = 0.01  # slope where plain clipping has none; the paper calls it alpha


class _Leaky(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, one_sided: bool) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(z)
        ctx.one_sided = one_sided
        lower = z.clamp(0, 1)
        return lower, lower + LEAK * (z - 1).clamp_(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (z,) = ctx.saved_tensors
        to_lower, to_upper = gradients
        leaks = (z <= 0) & (to_lower < 0) if ctx.one_sided else z <= 0
        below = torch.where(leaks, LEAK * to_lower, 0.0)
        inside = torch.where(z <= 1, to_lower + to_upper, LEAK * to_upper)
        return torch.where(z <= 0, below, inside), None


def leaky(
    z: Float[Tensor, "*batch n_components"], *, one_sided: bool = True
) -> tuple[Float[Tensor, "*batch n_components"], Float[Tensor, "*batch n_components"]]:
    """Importance for masks, and importance for the penalty, from what a gate computes.

    For masks (lower leaky): clip(z, 0, 1); its gradient has slope 0.01 for z <= 0 and none above 1.
    one_sided: that slope passes only gradients that raise z. For the penalty (upper leaky): 0 below 0,
    z inside, 1 + 0.01 (z - 1) above 1.
    Source: Bushnaq et al. (2025), arXiv 2506.20790, section 3; the one-sided leak is from the authors'
    later code.
    """
    lower, upper = _Leaky.apply(z, one_sided)  # pyright: ignore[reportGeneralTypeIssues]
    return lower, upper
