"""TransformerLens 3.9's HookedTransformer: text by its own `generate`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lm_merge.generation import seeded, without_token


def generate_ids(
    hooked: Any,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    max_new_tokens: int | None,
    seed: int | None,
    **arguments: Any,
) -> Tensor:
    """Continue token ids by TransformerLens's own `generate`; greedy unless `do_sample` is given.

    Ids without a token are never drawn.
    """
    if attention_mask is not None and not attention_mask.all():
        raise NotImplementedError(
            "a HookedTransformer generates for prompts of one length at a time; pass them one by one"
        )
    if hooked.tokenizer is None:
        arguments.setdefault("stop_at_eos", False)
    settings = {"do_sample": False, "verbose": False, "return_type": "tokens", **arguments}
    with seeded(seed, {torch.device(hooked.cfg.device)}), _tokens_only(hooked):
        return hooked.generate(
            input_ids.to(hooked.cfg.device), max_new_tokens=max_new_tokens or 20, **settings
        )


@contextmanager
def _tokens_only(hooked: Any) -> Iterator[None]:
    """Inside, logits of ids without a token are minus infinity; nothing changes without tokenizer."""
    if hooked.tokenizer is None:
        yield
        return
    none = without_token(hooked.tokenizer, hooked.cfg.d_vocab_out).to(hooked.cfg.device)

    def mask(module: Any, inputs: Any, logits: Tensor) -> Tensor:
        return logits.masked_fill(none, -torch.inf)

    handle = hooked.unembed.register_forward_hook(mask)
    try:
        yield
    finally:
        handle.remove()
