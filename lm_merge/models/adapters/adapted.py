"""A base model with an adapter as a model of its own, over the base's weights."""

from lm_merge.models.adapters.adapter import Adapter
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
    return with_read_adapter(base, find_adapter(adapter), adapted_source(own, adapter))


def with_read_adapter(base: HookedLM, adapter: Adapter, source: Source | None = None) -> HookedLM:
    """The base with an adapter that is read already; source: what a recipe calls both."""
    native = with_adapter(base.require_native("an adapter"), adapter)
    adapted = from_native(native, base.tokenizer, f"{base.name}+{adapter.name}", source)
    adapted.in_memory_only = base.in_memory_only or source is None
    return adapted


def adapted_source(base: Source, adapter: str) -> ModelSource:
    """What a recipe calls a base with an adapter."""
    return as_source(base).model_copy(update={"adapter": adapter})
