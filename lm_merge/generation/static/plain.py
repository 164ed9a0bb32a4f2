"""The static step of a model alone."""

from collections.abc import Hashable

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from lm_merge.caches.static_cache import FullLengthCache
from lm_merge.generation.static.obstacles import model_obstacle, weights_key


class PlainSystem:
    """A Hugging Face model whose own modules run at every step."""

    def __init__(self, model: PreTrainedModel, name: str) -> None:
        self.model, self.name = model, name

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def generation_config(self) -> GenerationConfig | None:
        """The host's generation settings."""
        return self.model.generation_config

    def obstacle(self) -> str | None:
        """Why there can be no recorded step just now."""
        return model_obstacle(self.model, self.name)

    def key(self) -> Hashable:
        """Modules and addresses of weights."""
        return weights_key(self.model)

    @property
    def version(self) -> int:
        """Nothing changes between two steps."""
        return 0

    def new_cache(self, batch: int, n_columns: int) -> FullLengthCache:
        """An empty cache."""
        return FullLengthCache(self.model.config, n_columns)

    def begin(self, cache: FullLengthCache, n_prompt: int) -> None:
        """Nothing is kept from step to step besides the cache."""

    def logits(
        self, ids: Tensor, mask: Tensor, positions: Tensor, column: Tensor, cache: FullLengthCache
    ) -> Tensor:
        """Logits after one more token a row."""
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        return output.logits[:, -1]

    def end(self, cache: FullLengthCache, n_columns: int) -> None:
        """Nothing to report."""
