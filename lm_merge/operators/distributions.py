"""Operators on next-token distributions: several models' logits to one; how logit ensembles vote.

Models come stacked, host first, with weights that are at least 0 and sum to 1. What comes out are
logits: their softmax is the ensemble's distribution. A constant, the weighted mean of the models'
log normalisers, is left in, so that they stand on the models' own scale: processors that are not
indifferent to it (a repetition penalty) then act as on one model, and weight 1 gives a model's own
logits. A logit of minus infinity means that a model does not have the token.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Logits = Float[Tensor, "n_models *batch d_vocab"]
Weights = Float[Tensor, "n_models *#batch 1"]
Ensemble = Callable[[Tensor, Tensor], Tensor]
TIE_FRAC = 1e-6  # of the probability, which decides between equal votes and orders the rest


def soft(logits: Logits, weights: Weights) -> Float[Tensor, "*batch d_vocab"]:
    r"""Weighted mean of the probabilities, $p = \sum_i w_i\,\mathrm{softmax}(z_i)$ (linear pool)."""
    scale = logits.logsumexp(dim=-1, keepdim=True)
    mixed = (logits - scale + weights.log()).logsumexp(dim=0)
    return mixed + (weights * scale).sum(dim=0)


def mean(logits: Logits, weights: Weights) -> Float[Tensor, "*batch d_vocab"]:
    r"""Weighted mean of the logits: the normalised geometric mean, $p \propto \prod_i p_i^{w_i}$.

    Also known as the logarithmic pool. A model of weight 0 has no effect, whatever it lacks.
    """
    return torch.where(weights == 0, 0.0, weights * logits).sum(dim=0)


def majority(logits: Logits, weights: Weights) -> Float[Tensor, "*batch d_vocab"]:
    """One vote a model for its most probable token, whatever its weight; see `weighted_majority`."""
    return weighted_majority(logits, torch.full_like(weights, 1 / len(weights)))


def weighted_majority(logits: Logits, weights: Weights) -> Float[Tensor, "*batch d_vocab"]:
    """Votes of the models for their most probable token, each counting its weight.

    p = (1 - 2e) votes + e mean probability + e winner, e = 1e-6: sampling draws a voter. The winner
    has the most votes and, of equal votes, the largest mean probability. The small parts decide ties
    and order the tokens without a vote, so that beams and constraints (bad words, a minimal length)
    find a next best.
    """
    scale = (weights * logits.logsumexp(dim=-1, keepdim=True)).sum(dim=0)
    ballots = torch.zeros_like(logits).scatter(-1, logits.argmax(dim=-1, keepdim=True), 1.0)
    votes = (weights * ballots).sum(dim=0)
    probability = (weights * logits.softmax(dim=-1)).sum(dim=0)
    leading = votes >= votes.amax(dim=-1, keepdim=True) - TIE_FRAC
    first = probability.masked_fill(~leading, -1.0).argmax(dim=-1, keepdim=True)
    winner = torch.zeros_like(votes).scatter(-1, first, 1.0)
    p = (1 - 2 * TIE_FRAC) * votes + TIE_FRAC * (probability + winner)
    return p.log() + scale


ENSEMBLE_METHODS: dict[str, Ensemble] = {
    "soft": soft,
    "mean": mean,
    "majority": majority,
    "weighted_majority": weighted_majority,
}
UNWEIGHTED_METHODS = ("majority",)


def get_ensemble_method(name: str) -> Ensemble:
    """The method of that name; ValueError lists the names there are."""
    if name not in ENSEMBLE_METHODS:
        raise ValueError(f"unknown method {name!r}; choose from {', '.join(ENSEMBLE_METHODS)}")
    return ENSEMBLE_METHODS[name]
