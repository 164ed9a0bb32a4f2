"""Forward passes of TransformerLens 3.9's HookedTransformer, framed by a merge's callbacks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Begin = Callable[[Tensor, Tensor | None, Any], None]


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
