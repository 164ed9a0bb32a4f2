"""The residual stream of a donor that is a HookedTransformer of TransformerLens 3.9."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lm_merge.spaces.latents.state_stream import ForwardInputs


class HookedTransformerStream:
    """A HookedTransformer donor that runs to its last merged block; states are handed over once."""

    def __init__(self, hooked: Any, layers: Sequence[int]) -> None:
        self.layers = sorted(layers)
        self.states: dict[int, Tensor] = {}
        self._hooked = hooked

    def new_cache(self, batch: int) -> Any:
        """An empty TransformerLens cache of keys and values."""
        from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache

        cfg = self._hooked.cfg
        return TransformerLensKeyValueCache.init_cache(cfg, cfg.device, batch)

    def start(self, inputs: ForwardInputs, cache: Any) -> None:
        """Run on new tokens; `states` then holds resid_post of the merged blocks."""
        self.states.clear()
        tokens, attention_mask = inputs.input_ids, inputs.attention_mask
        if attention_mask is not None:
            attention_mask = attention_mask[:, -tokens.shape[1] :]  # the cache holds the rest
        elif cache is not None and self._hooked.tokenizer is None:
            attention_mask = torch.ones_like(tokens)
        points = {layer: self._hooked.blocks[layer].hook_resid_post for layer in self.layers}
        handles = [
            point.register_forward_hook(
                lambda module, inputs, output, layer=layer: self.states.update({layer: output})
            )
            for layer, point in points.items()
        ]
        try:
            type(self._hooked).forward(  # not the instance's: that may be intercepted just now
                self._hooked,
                tokens.to(self._hooked.cfg.device),
                attention_mask=attention_mask,
                past_kv_cache=cache,
                stop_at_layer=self.layers[-1] + 1,
            )
        finally:
            for handle in handles:
                handle.remove()

    def take(self, layer: int) -> Tensor:
        """resid_post of a merged block."""
        return self.states.pop(layer)
