"""TransformerLens 3.9's HookedTransformer: its one view, seen as the rest of the library needs it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Begin = Callable[[Tensor, Tensor | None, Any], None]


class LegacyStream:
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

    def start(self, tokens: Tensor, attention_mask: Tensor | None, cache: Any) -> None:
        """Run on new tokens; `states` then holds resid_post of the merged blocks."""
        self.states.clear()
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


@contextmanager
def intercepted(hooked: Any, begin: Begin, end: Callable[[], None]) -> Iterator[None]:
    """Inside, every forward of a HookedTransformer is framed by `begin` and `end`.

    The instance's `forward` is replaced because run_with_hooks and run_with_cache call it directly,
    past any hook on the module. Its `generate` embeds tokens itself and calls forward with vectors;
    so the tokens that it embeds are noted.
    """
    kind, generated, generating = type(hooked), [], []

    def framed_forward(input: Any, *arguments: Any, **keywords: Any) -> Any:
        if isinstance(input, Tensor) and input.is_floating_point():
            if not generated:
                raise ValueError("a merged model takes tokens or text, not embeddings")
            tokens = torch.cat(generated, dim=1)[:, -input.shape[1] :]
        else:
            input = hooked.to_tokens(input) if not isinstance(input, Tensor) else input
            tokens = input = input if input.ndim == 2 else input.unsqueeze(0)
        begin(tokens, keywords.get("attention_mask"), keywords.get("past_kv_cache"))
        output = kind.forward(hooked, input, *arguments, **keywords)
        end()
        return output

    def framed_generate(*arguments: Any, **keywords: Any) -> Any:
        generating.append(True)
        try:
            return kind.generate(hooked, *arguments, **keywords)
        finally:
            generating.pop()
            generated.clear()

    def note(module: Any, inputs: tuple[Tensor, ...]) -> None:
        if generating:
            generated.append(inputs[0])

    handle = hooked.embed.register_forward_pre_hook(note)
    hooked.forward, hooked.generate = framed_forward, framed_generate
    try:
        yield
    finally:
        handle.remove()
        del hooked.forward, hooked.generate


def generate_ids(
    hooked: Any,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    max_new_tokens: int | None,
    seed: int | None,
    **arguments: Any,
) -> Tensor:
    """Continue token ids by TransformerLens's own `generate`; greedy unless `do_sample` is given."""
    if attention_mask is not None and not attention_mask.all():
        raise NotImplementedError(
            "a HookedTransformer generates for prompts of one length at a time; pass them one by one"
        )
    if hooked.tokenizer is None:
        arguments.setdefault("stop_at_eos", False)
    settings = {"do_sample": False, "verbose": False, "return_type": "tokens", **arguments}
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return hooked.generate(
            input_ids.to(hooked.cfg.device), max_new_tokens=max_new_tokens or 20, **settings
        )
