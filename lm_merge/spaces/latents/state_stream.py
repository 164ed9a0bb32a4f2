"""What a merge needs of a model whose states it reads, and what it hands to it."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class ForwardInputs:
    """What a model's forward was given, as far as a donor must be given the same."""

    input_ids: Tensor
    attention_mask: Any
    position_ids: Tensor | None


@runtime_checkable
class StateStream(Protocol):
    """A model that runs up to its last merged block and hands over its states."""

    def new_cache(self, batch: int) -> Any:
        """An empty cache for the blocks that run."""
        ...

    def start(self, inputs: ForwardInputs, cache: Any) -> None:
        """Run on new tokens."""
        ...

    def take(self, layer: int) -> Tensor:
        """resid_post of a merged block, handed over once."""
        ...
