"""Where attention goes: the sum of its weights on the keys of each block, by layer and head.

A second attention with the same queries and keys, whose values are block indicators, gives the sums
without the weights themselves; it is computed for the rows that are kept only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from lm_merge.models import HookedLM

NAME = "lm_merge_block_shares"


@contextmanager
def recording_shares(
    host: HookedLM,
    indicators: Float[Tensor, "batch pos n_blocks"],
    kept: Int[Tensor, " rows"],
    found: dict[int, Tensor],
) -> Iterator[None]:
    """Put shares [batch, heads, rows, n_blocks] of each layer into `found` at the next forward pass.

    indicators: 1 where a token belongs to a block, else 0. Raises ValueError for models without SDPA,
    and for those that cap attention scores (Gemma 2), whose weights the second attention would not give.
    """
    native: Any = host.require_native("attention shares")
    before = native.config._attn_implementation
    capped = getattr(native.config, "attn_logit_softcapping", None) is not None
    if before != "sdpa" or capped:
        reason = "caps attention scores" if capped else f"computes attention by {before!r}"
        raise ValueError(
            f"{host.name} {reason}, so shares of attention cannot be read next to it; load it with "
            "attn_implementation='sdpa', or leave attention out"
        )

    def attend(module: Any, query: Tensor, key: Tensor, *args: Any, **given: Any) -> Any:
        mask = given["attention_mask"] if "attention_mask" in given else args[1]
        scale = given.get("scaling")
        shares = _shares(query[:, :, kept_there], key, values, mask[:, :, kept_there], scale)
        found[module.layer_idx] = shares.float().cpu()
        return sdpa_attention_forward(module, query, key, *args, **given)

    kept_there = kept.to(host.device)
    values = indicators.to(host.device, host.dtype)
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    native.set_attn_implementation(NAME)
    try:
        yield
    finally:
        native.set_attn_implementation(before)
        AttentionInterface.register(NAME, sdpa_attention_forward)  # holds no tensors of this pass


def _shares(
    query: Float[Tensor, "batch heads rows d_head"],
    key: Float[Tensor, "batch kv_heads pos d_head"],
    values: Float[Tensor, "batch pos n_blocks"],
    mask: Float[Tensor, "batch 1 rows pos"],
    scale: float | None,
) -> Float[Tensor, "batch heads rows n_blocks"]:
    n_heads, width = query.shape[1], query.shape[-1]
    keys = key.repeat_interleave(n_heads // key.shape[1], dim=1)
    parts = []
    for part in values.split(width, dim=-1):  # values as wide as keys keep the fast kernel
        filled = torch.nn.functional.pad(part, (0, width - part.shape[-1]))
        of_heads = filled.unsqueeze(1).expand(-1, n_heads, -1, -1)
        shares = scaled_dot_product_attention(query, keys, of_heads, attn_mask=mask, scale=scale)
        parts.append(shares[..., : part.shape[-1]])
    return torch.cat(parts, dim=-1)
