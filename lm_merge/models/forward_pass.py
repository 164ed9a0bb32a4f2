"""What goes into and comes out of a forward pass, the same for every family."""

from typing import Any

from jaxtyping import Int
from torch import Tensor


def token_positions(attention_mask: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
    """Position of each token, counted over real tokens; 0 in padding before them."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def hidden_of(output: Any) -> Tensor:
    """The hidden state in a block's output, which some families wrap in a tuple."""
    return output[0] if isinstance(output, tuple) else output
