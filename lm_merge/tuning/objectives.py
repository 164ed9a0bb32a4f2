"""What a fit of coefficients minimises, from logits at the label positions of one task.

logits, expert: [n, d_vocab] at n positions; targets [n], the token that follows in the text; weights
[n], which sum to 1. All in nats. Temperature divides the logits before.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_merge.metrics.divergence import kl_nats

Logits = Float[Tensor, "n d_vocab"]
Weights = Float[Tensor, " n"]


@dataclass(frozen=True)
class Positions:
    """A batch's label positions: logits of the merge and of the task's expert, targets, weights."""

    logits: Logits
    expert: Logits | None
    targets: Int[Tensor, " n"]
    weights: Weights


def entropy_nats(logits: Logits) -> Float[Tensor, " n"]:
    r"""$H(p) = \mathrm{logsumexp}\,z - \sum_i p_i z_i$, in [0, ln d_vocab]."""
    return logits.logsumexp(dim=-1) - (logits.softmax(dim=-1) * logits).sum(dim=-1)


def entropy(at: Positions) -> Float[Tensor, ""]:
    """Mean entropy of the merge's predictions (AdaMerging, Yang et al. 2024); needs no labels."""
    return at.weights @ entropy_nats(at.logits)


def infomax(at: Positions) -> Float[Tensor, ""]:
    r"""$-(H(\bar p) - \overline{H(p)})$: sure predictions that differ from each other; no labels."""
    mean = at.weights @ at.logits.softmax(dim=-1)
    of_mean = -torch.special.xlogy(mean, mean).sum()
    return entropy(at) - of_mean


def distil(at: Positions) -> Float[Tensor, ""]:
    """Mean KL(expert || merge); no labels, but the task's own adapter runs as well."""
    assert at.expert is not None
    return at.weights @ kl_nats(at.expert, at.logits).squeeze(-1)


def supervised(at: Positions) -> Float[Tensor, ""]:
    """Mean cross-entropy of the targets."""
    losses = torch.nn.functional.cross_entropy(at.logits, at.targets, reduction="none")
    return at.weights @ losses


@dataclass(frozen=True)
class Objective:
    """A loss, whether the expert's logits enter it, and whether right replies do."""

    loss: Callable[[Positions], Float[Tensor, ""]]
    needs_expert: bool = False
    needs_targets: bool = False


OBJECTIVES: dict[str, Objective] = {
    "distil": Objective(distil, needs_expert=True),
    "supervised": Objective(supervised, needs_targets=True),
    "entropy": Objective(entropy),
    "infomax": Objective(infomax),
}
