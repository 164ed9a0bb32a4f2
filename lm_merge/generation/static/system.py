"""What a model or a merge must offer so that its decoding step can be recorded."""

from collections.abc import Hashable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig

from lm_merge.caches.static_cache import FullLengthCache


class NoStaticStep(Exception):
    """Why a call is not decoded with static caches; no caller of the package sees it."""


@runtime_checkable
class StaticSystem(Protocol):
    """A model or a merge whose step for one token a row reads and writes static tensors only."""

    @property
    def device(self) -> torch.device:
        """Where the step runs."""
        ...

    @property
    def generation_config(self) -> GenerationConfig | None:
        """The host's generation settings."""
        ...

    def obstacle(self) -> str | None:
        """Why there can be no recorded step just now; None where nothing forbids it."""
        ...

    def key(self) -> Hashable:
        """All that a recording freezes: modules, addresses of weights, structure."""
        ...

    @property
    def version(self) -> int:
        """Rises where something that a recording has frozen was changed between two steps."""
        ...

    def new_cache(self, batch: int, n_columns: int) -> FullLengthCache:
        """An empty cache for all models that run, with whatever else a step writes."""
        ...

    def begin(self, cache: FullLengthCache, n_prompt: int) -> None:
        """Before the steps of a text whose prompt has `n_prompt` columns, padding included."""
        ...

    def logits(
        self,
        ids: Int[Tensor, "batch 1"],
        mask: Int[Tensor, "batch n_columns"],
        positions: Int[Tensor, "batch 1"],
        column: Int[Tensor, " 1"],
        cache: FullLengthCache,
    ) -> Float[Tensor, "batch d_vocab"]:
        """The step: logits after one more token a row, at `column`. No value leaves the device."""
        ...

    def end(self, cache: FullLengthCache, n_columns: int) -> None:
        """After the steps: note what was wrong in the first `n_columns`, for the merge's own report."""
        ...
