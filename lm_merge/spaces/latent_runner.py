"""A merge at work: the callbacks that run donors beside the host and merge their states."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import DynamicCache

from lm_merge.coefficients import Alpha
from lm_merge.models import HookedLM
from lm_merge.models.legacy import LegacyStream
from lm_merge.spaces.attachment import attach_hooked, attach_native
from lm_merge.spaces.cache import MergeCache
from lm_merge.spaces.latent_pass import LatentPass, StateMerge
from lm_merge.spaces.positions import from_column, last_real, real_tokens
from lm_merge.spaces.streams import DonorStream, ForwardInputs


class LatentRunner:
    """Hangs on a host's view while attached; between forward passes it holds no state of tokens.

    others: the donors, and last the ancestor if there is one (`has_base`). layers: merged block ->
    alpha; may be replaced between passes.
    """

    def __init__(
        self,
        host: HookedLM,
        others: Sequence[HookedLM],
        merge_states: StateMerge,
        *,
        has_base: bool,
        layers: dict[int, Alpha],
        positions: str,
        donor_stream: str,
    ) -> None:
        self.host, self.merge_states, self.has_base = host, merge_states, has_base
        self.layers, self.positions = layers, positions
        self.coupled = donor_stream == "coupled"
        self._streams = _streams_of(others, list(layers), donor_stream)
        self._id = uuid.uuid4().hex
        self._prompt_length: int | None = None
        self._pass: LatentPass | None = None
        self._attached = {"native": False, "hooked": False}

    @contextmanager
    def attach(self, view: str) -> Iterator[None]:
        """Hang the merge on one view, once however often it is asked for; take it off at the end."""
        if self._attached[view]:
            yield
            return
        if self.host.merge_attached not in (None, self):
            raise RuntimeError(
                f"host {self.host.name!r} is inside the hooks of another merge "
                f"({self.host.merge_attached!r}); leave that first, or load the host a second time"
            )
        before, common = self.host.merge_attached, (self._begin, self._merge_at, self._end)
        attached = (
            attach_native(self.host, list(self.layers), *common)
            if view == "native"
            else attach_hooked(self.host, list(self.layers), *common, self._begin_legacy)
        )
        with attached:
            self._attached[view], self.host.merge_attached = True, self
            try:
                yield
            finally:
                self._attached[view], self.host.merge_attached = False, before
                self._pass = None

    @contextmanager
    def generating(self, prompt_length: int) -> Iterator[None]:
        """Inside, "the last prompt token" is that of a prompt so many columns long."""
        before, self._prompt_length = self._prompt_length, prompt_length
        try:
            yield
        finally:
            self._prompt_length = before

    def _begin(self, module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Before the host's forward: run the donors on the same tokens."""
        input_ids = keywords.get("input_ids", arguments[0] if arguments else None)
        if input_ids is None:
            raise ValueError(
                "a merged model takes token ids (input_ids): donors embed them themselves"
            )
        cache = self._cache_for(module, keywords)
        inputs = ForwardInputs(
            input_ids, keywords.get("attention_mask"), keywords.get("position_ids")
        )
        real = real_tokens(inputs.attention_mask, input_ids.shape[1])
        n_before = 0 if cache is None else cache.get_seq_length()
        self._pass = LatentPass(self._merged_at(input_ids, real, cache, n_before), real)
        if cache is None and self._is_off():
            return arguments, keywords
        caches = [None] * len(self._streams) if cache is None else cache.donor_caches
        for stream, donor_cache in zip(self._streams, caches, strict=True):
            stream.start(inputs, donor_cache)
        return arguments, keywords

    def _begin_legacy(self, tokens: Tensor, attention_mask: Tensor | None, cache: Any) -> None:
        """The same for a HookedTransformer, whose cache is TransformerLens's."""
        real = real_tokens(attention_mask, tokens.shape[1])
        n_before = 0 if cache is None else cache[0].past_keys.shape[1]
        if cache is not None and n_before == 0:
            cache.donor_caches = [stream.new_cache(len(tokens)) for stream in self._streams]
            cache.first_merged = None
        merged_at = self._merged_at(tokens, real, cache, n_before)
        caches = [None] * len(self._streams) if cache is None else cache.donor_caches
        self._pass = None  # a host that is its own donor runs unmerged now
        if cache is not None or not self._is_off():
            for stream, donor_cache in zip(self._streams, caches, strict=True):
                stream.start(tokens, attention_mask, donor_cache)
        self._pass = LatentPass(merged_at, real)

    def _is_off(self) -> bool:
        return all(not callable(alpha) and alpha == 0 for alpha in self.layers.values())

    def _cache_for(self, module: Any, keywords: dict[str, Any]) -> MergeCache | None:
        """The host's cache with the donors' in tow; made here where the host would make its own."""
        cache = keywords.get("past_key_values")
        if cache is None:
            uses = keywords.get("use_cache")
            if not (module.config.use_cache if uses is None else uses):
                return None
            cache = keywords["past_key_values"] = DynamicCache(config=module.config)
        if isinstance(cache, MergeCache):
            if cache.merge_id != self._id:
                raise ValueError(
                    "past_key_values was filled by another merge; start from an empty one"
                )
            return cache
        if type(cache) is not DynamicCache:
            raise TypeError(
                f"past_key_values is a {type(cache).__name__}; a merged model takes a DynamicCache "
                "(drop cache_implementation), which carries the donors' caches along"
            )
        if cache.get_seq_length() > 0:
            raise ValueError(
                "past_key_values was filled without the merge; start from an empty one inside the hooks"
            )
        return MergeCache.adopt(cache, [stream.new_cache() for stream in self._streams], self._id)

    def _merged_at(
        self, tokens: Tensor, real: Tensor | None, cache: Any, n_before: int
    ) -> Tensor | None:
        """Tokens to merge, None for all; the cache remembers where the prompt ended."""
        if self.positions == "all":
            return None
        first = self._prompt_length and self._prompt_length - 1
        if cache is not None:
            if cache.first_merged is None:
                cache.first_merged = tokens.shape[1] - 1 if first is None else first
            elif first is None:
                first = cache.first_merged
        if first is None:
            return last_real(tokens, real)
        return from_column(tokens, n_before, first)

    def _merge_at(self, layer: int, host: Tensor) -> Tensor | None:
        """After a merged block: its output with the donors' states merged in; None to leave it."""
        alpha, current = self.layers[layer], self._pass
        if current is None or not self._streams[0].states:
            return None  # a block run by itself, or a merge that is off
        states = [stream.take(layer) for stream in self._streams]
        donors, base = (states[:-1], states[-1]) if self.has_base else (states, None)
        merged = host
        if callable(alpha) or alpha != 0:
            computed = self.merge_states(alpha, host, donors, base)
            merged = current.select(host, computed)
            current.note(layer, merged)
        if self.coupled:
            for stream, state in zip(self._streams, states, strict=True):
                stream.resume(layer, current.select(state.to(host), merged))
        return None if merged is host else merged

    def _end(self) -> None:
        """After the host's forward: fail if a merged state was not finite."""
        current, self._pass = self._pass, None
        if current is not None:
            current.raise_if_not_finite()


def _streams_of(others: Sequence[HookedLM], layers: list[int], donor_stream: str) -> list[Any]:
    coupled = donor_stream == "coupled"
    return [
        LegacyStream(model.hooked, layers)
        if model.native is None
        else DonorStream(model, layers, coupled=coupled)
        for model in others
    ]
