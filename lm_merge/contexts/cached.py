"""The same runs through a key-value cache: fed block by block, keys moved, blocks dropped."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from lm_merge.caches.merge_cache import MergeCache
from lm_merge.contexts.blocks import Block, Run
from lm_merge.contexts.checks import check_cached, check_movable, layer_windows, models_of
from lm_merge.contexts.rotation import inverse_frequencies, moved_keys
from lm_merge.spaces import Composed

KeysValues = tuple[Tensor, Tensor]  # [batch, heads, pos, d_head] each
States = list[list[KeysValues]]  # a cache (host, donors), then a layer of it


@dataclass(frozen=True)
class _Computed:
    states: States
    logits: Float[Tensor, "pos d_vocab"]


class BlockCache:
    """Keys and values of blocks for one system, each computed once, then moved to where it is needed.

    Use inside one item or a few: it keeps every block that it has computed. A block and its copies at
    other positions are computed once, which is how a cached text is spliced onto another context.
    """

    def __init__(self, system: Composed) -> None:
        check_cached(system)
        self.system = system
        self._models = models_of(system)
        self._kept: dict[Block, _Computed] = {}
        self._merge_id: str | None = None

    def states(self, block: Block) -> States:
        """Keys and values of the block's tokens, of the host and of every donor, at its positions."""
        by = block.first
        states = self._computed(block).states
        if by == 0:
            return states
        for model in self._models:
            check_movable(model, block, by)
        frequencies = [inverse_frequencies(model.native) for model in self._models]
        return [
            [(moved_keys(keys, own, by), values) for keys, values in cache]
            for cache, own in zip(states, frequencies, strict=False)
        ]

    def logits(self, block: Block) -> Float[Tensor, "pos d_vocab"]:
        """Logits at the block's tokens, on the CPU."""
        return self._computed(block).logits

    def _computed(self, block: Block) -> _Computed:
        root = block.moved(-block.first)
        if root not in self._kept:
            self._kept[root] = self._compute(root)
        return self._kept[root]

    def _compute(self, block: Block) -> _Computed:
        native: Any = self.system.host.require_native("cached scoring")
        device, n = self.system.host.device, len(block.ids)
        cache = self.cache_of([block.sees])
        positions = torch.arange(block.start, block.end)
        before = [place for one in block.sees for place in range(one.start, one.end)]
        with self.system.hooks(), torch.no_grad():
            logits = native(
                input_ids=torch.tensor([block.ids], device=device),
                position_ids=positions.unsqueeze(0).to(device),
                attention_mask=_causal(native, torch.tensor(before, dtype=torch.long), positions),
                past_key_values=cache,
                use_cache=True,
            ).logits
        caches = [cache, *getattr(cache, "donor_caches", ())]
        self._merge_id = getattr(cache, "merge_id", None)
        states = [
            [(layer.keys[:, :, -n:], layer.values[:, :, -n:]) for layer in one.layers]
            for one in caches
        ]
        return _Computed(states, logits[0].cpu())

    def cache_of(self, seen: Sequence[Sequence[Block]]) -> DynamicCache:
        """A cache with one row for each sequence of blocks, padded with zeros at the left."""
        cache = DynamicCache()
        rows = [[self.states(block) for block in blocks] for blocks in seen]
        if not any(rows):
            return cache
        width = max(sum(len(block.ids) for block in blocks) for blocks in seen)
        n_caches = len(next(row for row in rows if row)[0])
        if self._merge_id is not None:
            donors = [DynamicCache() for _ in range(n_caches - 1)]
            cache = MergeCache.adopt(cache, donors, self._merge_id)
            cache.last_prompt_column = width - 1
        for place, one in enumerate([cache, *getattr(cache, "donor_caches", ())]):
            for layer in range(len(next(row for row in rows if row)[0][place])):
                keys = _stacked([[part[place][layer][0] for part in row] for row in rows], width)
                values = _stacked([[part[place][layer][1] for part in row] for row in rows], width)
                one.update(keys, values, layer)
        return cache


def cached_logits(cache: BlockCache, run: Run) -> Float[Tensor, "rows d_vocab"]:
    """Logits that predict the run's tokens after the injection, and one more: as `packed_logits`."""
    return torch.stack([cache.logits(block)[index] for block, index in run.predictors()])


def _stacked(rows: list[list[Tensor]], width: int) -> Tensor:
    """Parts of each row joined along positions, filled up at the left, one row a batch entry."""
    joined = [torch.cat(parts, dim=2) for parts in rows]
    full = [torch.nn.functional.pad(one, (0, 0, width - one.shape[2], 0)) for one in joined]
    return torch.cat(full)


def _causal(native: Any, before: Tensor, new: Tensor) -> Any:
    """The 4-D mask of new tokens over what a cache holds and over themselves."""
    dtype = next(native.parameters()).dtype
    n_before, n_new = len(before), len(new)
    own = torch.ones(n_new, n_new, dtype=torch.bool).tril()
    sight = torch.cat([torch.ones(n_new, n_before, dtype=torch.bool), own], dim=1)
    distance = new.unsqueeze(1) - torch.cat([before, new]).unsqueeze(0)
    masks = {
        kind: torch.zeros(sight.shape, dtype=dtype)
        .masked_fill(
            ~(sight if window is None else sight & (distance < window)), torch.finfo(dtype).min
        )
        .view(1, 1, n_new, -1)
        .to(native.device)
        for kind, window in layer_windows(native.config).items()
    }
    return masks if len(masks) > 1 else next(iter(masks.values()))
