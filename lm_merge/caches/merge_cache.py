"""The key-value cache of a merge: the host's own, with every donor's in tow."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from transformers import DynamicCache


class MergeCache(DynamicCache):
    """A host's DynamicCache that carries the donors' caches through all that is done to it.

    Whoever crops, reorders, repeats, selects or resets the host's cache (beam search, assisted
    decoding, prompt lookup) does the same to the donors', so that all stay at the same tokens.
    """

    donor_caches: list[DynamicCache]
    merge_id: str  # which merge filled it; another must not go on from it
    last_prompt_column: int | None  # of the whole sequence; None before the first pass

    @classmethod
    def adopt(
        cls, cache: DynamicCache, donor_caches: Sequence[DynamicCache], merge_id: str
    ) -> "MergeCache":
        """Make an empty DynamicCache, which its owner goes on holding, into a MergeCache.

        The object stays the same one because `generate` keeps its own reference to it.
        """
        assert type(cache) is DynamicCache
        assert cache.get_seq_length() == 0
        cache.__class__ = cls
        assert isinstance(cache, cls)
        cache.donor_caches = list(donor_caches)
        cache.merge_id = merge_id
        cache.last_prompt_column = None
        if any(cache.is_recording_past(layer) for layer in range(len(cache.layers))):
            for donor_cache in cache.donor_caches:  # assisted decoding asked for it before
                donor_cache.activate_past_recording()
        return cache

    def reset(self) -> None:
        super().reset()
        self.last_prompt_column = None
        for cache in self.donor_caches:
            cache.reset()

    def reorder_cache(self, beam_idx: Any) -> None:
        super().reorder_cache(beam_idx)
        for cache in self.donor_caches:
            cache.reorder_cache(beam_idx)

    def crop(self, tokens_to_remove: int) -> None:
        super().crop(tokens_to_remove)
        for cache in self.donor_caches:
            cache.crop(tokens_to_remove)

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        for cache in self.donor_caches:
            cache.batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        for cache in self.donor_caches:
            cache.batch_select_indices(indices)

    def activate_past_recording(self) -> None:
        super().activate_past_recording()
        for cache in self.donor_caches:
            cache.activate_past_recording()


def merge_cache(
    config: Any,
    keywords: dict[str, Any],
    merge_id: str,
    new_caches: Callable[[], Sequence[DynamicCache]],
) -> MergeCache | None:
    """The cache in a forward's keywords with the donors' in tow; None for a pass without a cache.

    Made here, and put into the keywords, where the host would make its own. `new_caches` gives the
    donors' empty ones. Raises ValueError for a cache filled by anything but the merge `merge_id`,
    and TypeError for another kind than DynamicCache.
    """
    cache = keywords.get("past_key_values")
    if cache is None:
        uses = keywords.get("use_cache")
        if not (config.use_cache if uses is None else uses):
            return None
        cache = keywords["past_key_values"] = DynamicCache(config=config)
    if isinstance(cache, MergeCache):
        if cache.merge_id != merge_id:
            raise ValueError("past_key_values was filled by another merge; start from an empty one")
        return cache
    if type(cache) is not DynamicCache:
        raise TypeError(
            f"past_key_values is a {type(cache).__name__}; a merged model takes a DynamicCache "
            "(drop cache_implementation), which carries the donors' caches along. static=True asks for "
            "static ones"
        )
    if cache.get_seq_length() > 0:
        raise ValueError(
            "past_key_values was filled without the merge; start from an empty one inside the hooks"
        )
    return MergeCache.adopt(cache, new_caches(), merge_id)
