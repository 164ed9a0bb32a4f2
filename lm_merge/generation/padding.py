"""Padding of prompts: on the left, so that every row goes on from its own last token."""

import torch
from jaxtyping import Int
from torch import Tensor


def padded_left(
    input_ids: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"]
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    """Ids and mask with the padding at each row's end moved to its beginning.

    Rows keep their tokens and their order; what is padded on the left already stays as it is.
    Raises ValueError for a row without any real token.
    """
    trailing = (attention_mask.flip(1).cumsum(1) == 0).sum(1, keepdim=True)
    n_columns = input_ids.shape[1]
    empty = (trailing == n_columns).flatten().nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"attention_mask masks every token of rows {empty}; leave those rows out")
    if not trailing.any():
        return input_ids, attention_mask
    columns = torch.arange(n_columns, device=input_ids.device)
    source = (columns - trailing) % n_columns
    return input_ids.gather(1, source), attention_mask.gather(1, source)


def require_left_padding(attention_mask: Tensor | None) -> None:
    """Raise ValueError for a mask whose rows end in padding: text would go on from padding."""
    if attention_mask is not None and attention_mask.ndim == 2 and not attention_mask[:, -1].all():
        raise ValueError("attention_mask ends in padding; pad prompts on the left")
