"""TransformerLens 3.9's HookedTransformer: text by its own `generate`."""

from typing import Any

import torch
from torch import Tensor

from lm_merge.generation import seeded


def generate_ids(
    hooked: Any,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    max_new_tokens: int | None,
    seed: int | None,
    **arguments: Any,
) -> Tensor:
    """Continue token ids by TransformerLens's own `generate`; greedy unless `do_sample` is given."""
    if attention_mask is not None and not attention_mask.all():
        raise NotImplementedError(
            "a HookedTransformer generates for prompts of one length at a time; pass them one by one"
        )
    if hooked.tokenizer is None:
        arguments.setdefault("stop_at_eos", False)
    settings = {"do_sample": False, "verbose": False, "return_type": "tokens", **arguments}
    with seeded(seed, {torch.device(hooked.cfg.device)}):
        return hooked.generate(
            input_ids.to(hooked.cfg.device), max_new_tokens=max_new_tokens or 20, **settings
        )
