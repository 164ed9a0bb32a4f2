"""How far apart two next-token distributions are, in nats, from their logits."""

from math import log

import torch
from jaxtyping import Float
from torch import Tensor


def kl_nats(
    p_logits: Float[Tensor, "*batch d_vocab"], q_logits: Float[Tensor, "*batch d_vocab"]
) -> Float[Tensor, "*batch 1"]:
    r"""Kullback-Leibler divergence of q from p, $\sum_i p_i (\log p_i - \log q_i)$, in [0, inf].

    0 only for p = q; not symmetric. A token that p excludes (logit -inf) counts nothing; one that q
    alone excludes makes it infinite. A constant added to all logits changes nothing.

    >>> import torch
    >>> certain, even = torch.tensor([[0.0, -torch.inf]]), torch.tensor([[0.0, 0.0]])
    >>> kl_nats(certain, even)  # ln 2
    tensor([[0.6931]])
    """
    log_p, log_q = p_logits.log_softmax(dim=-1), q_logits.log_softmax(dim=-1)
    terms = torch.where(log_p == -torch.inf, 0.0, log_p.exp() * (log_p - log_q))
    return terms.sum(dim=-1, keepdim=True)


def js_nats(
    p_logits: Float[Tensor, "*batch d_vocab"], q_logits: Float[Tensor, "*batch d_vocab"]
) -> Float[Tensor, "*batch 1"]:
    r"""Jensen-Shannon divergence, the mean of KL(p || m) and KL(q || m) with m = (p + q) / 2.

    In [0, ln 2], symmetric, finite always; ln 2 for distributions that exclude each other. Its square
    root is a metric. Source: Lin (1991).

    >>> import torch
    >>> js_nats(torch.tensor([[0.0, -torch.inf]]), torch.tensor([[-torch.inf, 0.0]]))  # ln 2
    tensor([[0.6931]])
    """
    log_p, log_q = p_logits.log_softmax(dim=-1), q_logits.log_softmax(dim=-1)
    log_m = torch.logaddexp(log_p, log_q) - log(2)
    return (kl_nats(log_p, log_m) + kl_nats(log_q, log_m)) / 2
