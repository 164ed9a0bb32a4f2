"""The static step of a logit ensemble: every model on tensors of fixed addresses."""

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from lm_merge.caches.static_cache import FullLengthCache, MergeStaticCache
from lm_merge.generation.static.obstacles import devices_obstacle, model_obstacle, weights_key
from lm_merge.models import HookedLM
from lm_merge.models.weight_sharing import weight_sharing_copy
from lm_merge.operators.distributions import Ensemble
from lm_merge.spaces.logits.logit_stream import LogitStream, at_width


class EnsembleStaticCache(MergeStaticCache):
    """The caches of all models, and whose logits were NaN.

    not_a_number: [n_models, n_columns]."""

    not_a_number: Tensor


class StaticEnsemble:
    """Runs all models for one token a row, the host as a copy over its own weights.

    weights: one a model, host first; which of them are 0 is part of a recording, their values are not.
    """

    def __init__(
        self,
        models: Sequence[HookedLM],
        streams: Sequence[LogitStream],
        merge: Ensemble,
        weights: Sequence[float],
    ) -> None:
        self.host, self._models, self._streams, self._merge = models[0], models, streams, merge
        self._weights = tuple(weights)
        self.version = 0
        self.not_a_number: Tensor | None = None  # [n_models]
        self._row: Tensor | None = None  # of the models with a weight
        self._twin: Any = None
        self._twin_key: Hashable = None

    @property
    def device(self) -> torch.device:
        return self.host.device

    @property
    def weights(self) -> tuple[float, ...]:
        """One a model, as the next step uses them."""
        return self._weights

    @weights.setter
    def weights(self, weights: Sequence[float]) -> None:
        before, self._weights = self._contributing(), tuple(weights)
        if self._contributing() != before:
            self.version += 1
            self._row = None
        self._write_row()

    @property
    def generation_config(self) -> GenerationConfig | None:
        """The host's generation settings."""
        return None if self.host.native is None else self.host.native.generation_config

    def obstacle(self) -> str | None:
        """Why there can be no recorded step just now."""
        found = []
        for place, model in enumerate(self._models):
            native = model.require_native("an ensemble")
            found.append(model_obstacle(native, model.name, hooks_count=place == 0))
        found.append(devices_obstacle({model.device for model in self._models}))
        return next(filter(None, found), None)

    def key(self) -> Hashable:
        """Weights of all models, and which contribute; brings the copy of the host up to date."""
        assert self.host.native is not None
        host = weights_key(self.host.native)
        if host != self._twin_key:
            self._twin, self._twin_key = weight_sharing_copy(self.host.native), host
        return host, [weights_key(stream.twin) for stream in self._streams], self.version

    def new_cache(self, batch: int, n_columns: int) -> EnsembleStaticCache:
        """Empty caches of all models."""
        configs = [stream.twin.config for stream in self._streams]
        cache = EnsembleStaticCache(self._twin.config, configs, n_columns)
        size = (len(self._models), n_columns)
        cache.not_a_number = torch.zeros(size, dtype=torch.bool, device=self.device)
        return cache

    def begin(self, cache: FullLengthCache, n_prompt: int) -> None:
        """Set the weights."""
        assert isinstance(cache, EnsembleStaticCache)
        cache.not_a_number.zero_()
        self._write_row()

    def logits(
        self, ids: Tensor, mask: Tensor, positions: Tensor, column: Tensor, cache: FullLengthCache
    ) -> Tensor:
        """The ensemble's logits after one more token a row."""
        assert isinstance(cache, EnsembleStaticCache)
        given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        host = self._twin(**given, past_key_values=cache, use_cache=True).logits[:, -1]
        found = [host]
        for stream, own in zip(self._streams, cache.donor_caches, strict=True):
            found.append(stream.logits(self._twin, given, own)[:, -1])
        wide = torch.promote_types(host.dtype, torch.float32)
        logits = torch.stack([at_width(one.to(wide), host.shape[-1]) for one in found])
        nan = logits.isnan().flatten(1).any(dim=1, keepdim=True)
        cache.not_a_number.index_copy_(1, column, nan)
        assert self._row is not None
        chosen = torch.stack([logits[place] for place in self._contributing()])
        return self._merge(chosen, self._row.view(-1, *(1,) * host.ndim))

    def end(self, cache: FullLengthCache, n_columns: int) -> None:
        """Keep whose logits were NaN, in this text or an earlier one."""
        assert isinstance(cache, EnsembleStaticCache)
        found = cache.not_a_number[:, :n_columns].any(dim=1)
        self.not_a_number = found if self.not_a_number is None else self.not_a_number | found

    def _contributing(self) -> tuple[int, ...]:
        return tuple(place for place, weight in enumerate(self._weights) if weight > 0)

    def _write_row(self) -> None:
        wide = torch.promote_types(self.host.dtype, torch.float32)
        values = [self._weights[place] for place in self._contributing()]
        with torch.inference_mode(False):  # later steps, in that mode or not, read it
            row = torch.tensor(values, dtype=wide)
            if self._row is None or self._row.device != self.device:
                self._row = row.to(self.device)
            self._row.copy_(row)
