"""Which of two contexts a next-token distribution follows: pure functions of log-probabilities.

Throughout: log_p, log_p0 and log_p1 are the log-probabilities of the text as it is written, under the
original and under the injected context, on the same text, over the full vocabulary, in nats.
"""

from math import log
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from lm_merge.accumulation import wide
from lm_merge.metrics.divergence import js_nats

Attribution = Literal["original", "injected", "mixed", "neither"]
SAME_NATS = 1e-6  # Jensen-Shannon divergence of the references below which they are one
RATIO_NATS = log(1.5)
LEAST_PROBABILITY = 1e-3
SAME_STATE = 1e-8  # squared distance of reference states below which they are one


def log_ratio_nats(
    log_p0: Float[Tensor, "pos d_vocab"],
    log_p1: Float[Tensor, "pos d_vocab"],
    tokens: Int[Tensor, " pos"],
) -> Float[Tensor, " pos"]:
    """log p1(y) - log p0(y) of the tokens that were emitted; above 0 the injected context favours them.

    Its expectation over y ~ p is KL(p, p0) - KL(p, p1). NaN where both exclude the token.

    >>> import torch
    >>> even, certain = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]).log()
    >>> log_ratio_nats(even, certain, torch.tensor([0]))  # ln 2
    tensor([0.6931])
    """
    places = tokens.unsqueeze(-1)
    return (log_p1.gather(-1, places) - log_p0.gather(-1, places)).squeeze(-1)


def adaptation_index(
    log_p: Float[Tensor, "*batch d_vocab"],
    log_p0: Float[Tensor, "*batch d_vocab"],
    log_p1: Float[Tensor, "*batch d_vocab"],
) -> Float[Tensor, "*batch 1"]:
    r"""Where p lies between its references, $\sqrt{J_0} / (\sqrt{J_0} + \sqrt{J_1})$, in [0, 1].

    J: Jensen-Shannon divergence. 0 as if nothing was injected, 1 as under the injected context from the
    start; exchanging the references gives 1 minus it. NaN where they are one (below 1e-6 nats).
    """
    root0, root1 = (js_nats(log_p, one).clamp(min=0).sqrt() for one in (log_p0, log_p1))
    apart = js_nats(log_p0, log_p1) >= SAME_NATS
    return (root0 / (root0 + root1)).masked_fill(~apart, torch.nan)


def attribution(
    log_p0: Float[ndarray, " pos"], log_p1: Float[ndarray, " pos"]
) -> list[Attribution]:
    """The context that each emitted token belongs to, from its log-probabilities under both.

    "neither" where both give it less than 1e-3; else "injected" or "original" where one gives it more
    than 1.5 times the other's probability, "mixed" between.
    """
    found: list[Attribution] = []
    for zero, one in zip(log_p0, log_p1, strict=True):
        if max(zero, one) < log(LEAST_PROBABILITY):
            found.append("neither")
        elif one - zero > RATIO_NATS:
            found.append("injected")
        elif zero - one > RATIO_NATS:
            found.append("original")
        else:
            found.append("mixed")
    return found


def log_bayes_factor_nats(ratios: Float[ndarray, " pos"]) -> Float[ndarray, " pos"]:
    """Cumulative sum of log ratios from the injection on; undefined ones add nothing.

    Its sigmoid is the posterior, from even odds, that the text was written under the injected context.
    """
    return np.cumsum(np.where(np.isfinite(ratios), ratios, 0.0))


def state_projection(
    state: Float[Tensor, "*batch d_model"],
    state0: Float[Tensor, "*batch d_model"],
    state1: Float[Tensor, "*batch d_model"],
) -> tuple[Float[Tensor, "*batch 1"], Float[Tensor, "*batch 1"]]:
    r"""Share beta of the way from state0 to state1, and the length of what is orthogonal to that way.

    $\beta = \langle h - h_0, h_1 - h_0 \rangle / \|h_1 - h_0\|^2$: 0 the original's state, 1 the
    oracle's, unbounded. NaN, both, where $\|h_1 - h_0\|^2$ is below 1e-8.
    """
    way, here = wide(state1 - state0), wide(state - state0)
    square = way.square().sum(-1, keepdim=True)
    beta = (here * way).sum(-1, keepdim=True) / square
    rest = (here - beta * way).norm(dim=-1, keepdim=True)
    same = square < SAME_STATE
    return tuple(one.masked_fill(same, torch.nan).to(state) for one in (beta, rest))  # pyright: ignore[reportReturnType]
