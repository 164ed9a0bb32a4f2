"""Steering: a fixed vector per layer added to the stream; no second model, so not in OPERATORS."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Steering:
    r"""Fixed directions: at layer l the stream $h$ becomes $h + \alpha\,\delta_l$.

    vectors: layer -> vector [d_model]; alpha: how much of it, any real number, 0 for none.

    >>> import torch
    >>> steering = Steering({3: torch.tensor([0.0, 1.0])}, alpha=0.5)
    >>> steering.add(torch.tensor([[2.0, 2.0]]), layer=3)
    tensor([[2.0000, 2.5000]])
    """

    vectors: Mapping[int, Float[Tensor, " d_model"]]
    alpha: float = 1.0

    def add(
        self, state: Float[Tensor, "*batch d_model"], layer: int
    ) -> Float[Tensor, "*batch d_model"]:
        """The steered state, in the state's own dtype; at alpha 0 the tensor itself."""
        if self.alpha == 0:
            return state
        wide = torch.promote_types(state.dtype, torch.float32)
        delta = self.vectors[layer].to(state.device, wide)
        return (state.to(wide) + self.alpha * delta).to(state.dtype)
