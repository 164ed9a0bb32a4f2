"""Calls of a native view's own `generate`, framed by a merge."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import Tensor

from lm_merge.generation import require_left_padding, with_tokens_only
from lm_merge.generation.static.arguments import require_dynamic
from lm_merge.generation.static.decoding import StaticDecoding
from lm_merge.models import HookedLM

Frame = Callable[[Tensor], AbstractContextManager[None]]


@contextmanager
def framed_generate(model: HookedLM, frame: Frame, decoding: StaticDecoding) -> Iterator[None]:
    """Inside, `model.native.generate` runs within `frame(input_ids)`, whoever calls it.

    Only there is the whole prompt known: with drafts or a prefill in parts it does not end where the
    first forward pass ends. Prompts padded on the right are refused, and ids without a token are never
    drawn. A `generate` that somebody put on this very object is put back at the end. decoding: decides
    for each call whether it runs on static caches.
    """
    native: Any = model.native
    generate, before = native.generate, vars(native).get("generate")

    def framed(*arguments: Any, **keywords: Any) -> Any:
        require_left_padding(keywords.get("attention_mask"))
        keywords = with_tokens_only(keywords, model.tokenizer)
        given = arguments[0] if arguments else None
        ids = keywords.get("input_ids", keywords.get("inputs", given))
        if not isinstance(ids, Tensor):
            require_dynamic(keywords, "only token ids (input_ids) are decoded so")
            return generate(*arguments, **keywords)
        with frame(ids):
            return decoding.generate(generate, arguments, keywords)

    native.generate = framed
    try:
        yield
    finally:
        del native.generate
        if before is not None:
            native.generate = before
