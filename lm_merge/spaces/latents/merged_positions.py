"""Which tokens of a forward pass are merged, and the place of each in the generated text."""

from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Positions = Literal["all", "last"]
POSITIONS: tuple[Positions, ...] = ("all", "last")


def real_tokens(attention_mask: Tensor | None, n_new: int) -> Bool[Tensor, "batch pos"] | None:
    """Which of the newest `n_new` columns are no padding; None where every one is, or none is known."""
    if attention_mask is None or attention_mask.ndim != 2:
        return None
    return attention_mask[:, -n_new:].bool()


def last_real(
    input_ids: Int[Tensor, "batch pos"], real: Bool[Tensor, "batch pos"] | None
) -> Bool[Tensor, "batch pos"]:
    """The last non-padding position of each row."""
    if real is None:
        real = torch.ones_like(input_ids, dtype=torch.bool)
    following = real.flip(1).cumsum(1).flip(1)  # real tokens from here on
    return real & (following == 1)


def generated_index(
    input_ids: Int[Tensor, "batch pos"],
    real: Bool[Tensor, "batch pos"] | None,
    n_before: int,
    last_prompt_column: int | None,
) -> Int[Tensor, "#batch pos"]:
    """Each token's place after the last prompt token: 0 for that one, below 0 in the prompt.

    Counted in columns from `last_prompt_column`; where that is not known, the pass is all prompt and
    ends, in each row, at the last token that is no padding.
    """
    columns = n_before + torch.arange(input_ids.shape[1], device=input_ids.device)
    if last_prompt_column is not None:
        return (columns - last_prompt_column).unsqueeze(0)
    last = last_real(input_ids, real).int().argmax(dim=1, keepdim=True)
    return columns - n_before - last
