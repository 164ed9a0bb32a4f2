"""A base model with an adapter as a model of its own, over the base's weights."""

from lm_merge.models.adapters.finding import find_adapter
from lm_merge.models.adapters.running import with_adapter
from lm_merge.models.hooked_lm import HookedLM, from_native
from lm_merge.recipes.sources import ModelSource, Source, as_source


def with_named_adapter(base: HookedLM, adapter: str) -> HookedLM:
    """The base with the adapter that a name or a folder stands for; the base's weights are held once.

    Raises OSError for an adapter that is nowhere, ValueError for one that does not fit the base, and
    for a base that runs with an adapter already.
    """
    own = as_source(base.source)
    if own.adapter is not None:
        raise ValueError(
            f"model {base.name!r} runs with an adapter already; merge both with space 'adapters'"
        )
    read = find_adapter(adapter)
    native = with_adapter(base.require_native("an adapter"), read)
    adapted = from_native(
        native, base.tokenizer, f"{base.name}+{read.name}", adapted_source(own, adapter)
    )
    adapted.in_memory_only = base.in_memory_only
    return adapted


def adapted_source(base: Source, adapter: str) -> ModelSource:
    """What a recipe calls a base with an adapter."""
    return as_source(base).model_copy(update={"adapter": adapter})
