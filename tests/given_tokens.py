"""Logits of `generate` along tokens that are given, so that two paths are compared on the same text."""

from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList


class GivenTokens:
    """A logits processor that keeps the logits it is given and lets the next given token follow."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens, self.logits = tokens, list[Tensor]()

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        token = self.tokens[len(self.logits)]
        self.logits.append(scores.clone())
        return torch.full_like(scores, -torch.inf).index_fill(1, token[None], 0.0)


def logits_along(composed: Any, prompts: dict[str, Tensor], tokens: Tensor, **arguments) -> Tensor:
    """Logits at each of the tokens, [n_tokens, batch, d_vocab], in float32."""
    given = GivenTokens(tokens.to(composed.host.device))
    settings = {"max_new_tokens": len(tokens), "do_sample": False, "eos_token_id": None}
    composed.generate(
        prompts, logits_processor=LogitsProcessorList([given]), **settings, **arguments
    )
    return torch.stack(given.logits).float()
