"""A key-value cache of fixed size: what a recorded decoding step reads and writes."""

from typing import Any

from transformers import DynamicCache, StaticCache
from transformers.cache_utils import DynamicLayer, StaticLayer


class FullLengthCache(StaticCache):
    """A StaticCache whose layers all hold every column, sliding windows included.

    n_columns: tokens that fit, padding included. transformers' static layer for a sliding window counts
    its tokens in a Python number, which a recorded step would repeat. Here the length is a tensor on the
    device in every layer, and the window is in the attention mask, so the states are the same.
    """

    def __init__(self, config: Any, n_columns: int) -> None:
        super().__init__(config=config, max_cache_len=n_columns)
        self.n_columns = n_columns
        self.layers = [StaticLayer(max_cache_len=n_columns) for _ in self.layers]

    def take_over(self, cache: DynamicCache, n_filled: int) -> None:
        """Copy the keys and values of `cache`, which ends at column `n_filled`, and go on from there.

        A sliding layer of `cache` holds its newest columns only; no later token attends to the others.
        Raises ValueError where the tokens do not fit.
        """
        if n_filled > self.n_columns:
            raise ValueError(f"{n_filled} columns do not fit into a cache of {self.n_columns}")
        for own, filled in zip(self.layers, cache.layers, strict=True):
            assert isinstance(filled, DynamicLayer)
            keys, values = filled.keys, filled.values
            assert keys is not None
            assert values is not None
            if not own.is_initialized:
                own.lazy_initialization(keys, values)
            assert own.keys is not None
            assert own.values is not None
            kept = slice(n_filled - keys.shape[-2], n_filled)
            own.keys[:, :, kept].copy_(keys)
            own.values[:, :, kept].copy_(values)
        self.rewind(n_filled)

    def rewind(self, n_filled: int) -> None:
        """Let the next token be at column `n_filled`; what is behind it is masked, not erased."""
        for layer in self.layers:
            layer.cumulative_length.fill_(n_filled)


class MergeStaticCache(FullLengthCache):
    """A host's cache of fixed size that carries the donors' along."""

    def __init__(self, config: Any, donor_configs: list[Any], n_columns: int) -> None:
        super().__init__(config, n_columns)
        self.donor_caches = [FullLengthCache(one, n_columns) for one in donor_configs]

    def take_over(self, cache: DynamicCache, n_filled: int) -> None:
        super().take_over(cache, n_filled)
        donors: list[DynamicCache] = getattr(cache, "donor_caches")  # noqa: B009 # of a MergeCache
        for own, filled in zip(self.donor_caches, donors, strict=True):
            own.take_over(filled, n_filled)

    def rewind(self, n_filled: int) -> None:
        super().rewind(n_filled)
        for cache in self.donor_caches:
            cache.rewind(n_filled)

    def reset(self) -> None:
        super().reset()
        for cache in self.donor_caches:
            cache.reset()
