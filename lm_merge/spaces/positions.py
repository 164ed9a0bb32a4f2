"""Which tokens of a forward pass are merged."""

from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Positions = Literal["all", "last"]
POSITIONS: tuple[Positions, ...] = ("all", "last")


def real_tokens(attention_mask: Tensor | None, n_new: int) -> Bool[Tensor, "batch pos"] | None:
    """Which of the newest `n_new` columns are no padding; None where every one is, as far as known."""
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


def from_column(
    input_ids: Int[Tensor, "batch pos"], n_before: int, first: int
) -> Bool[Tensor, "1 pos"]:
    """Columns of the whole sequence from `first` on; `n_before` columns came in earlier passes."""
    columns = n_before + torch.arange(input_ids.shape[1], device=input_ids.device)
    return (columns >= first).unsqueeze(0)
