"""A recipe at several alphas, in whichever space: two parents, and who speaks for the merge."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from analyses.running.inputs import models_of, origin_of_source, origins_of, source_name
from lm_merge.models import HookedLM
from lm_merge.recipes import Recipe
from lm_merge.spaces import LatentMerge, LogitEnsemble
from lm_merge.spaces.compose import SourceLoader, compose


@dataclass(frozen=True)
class Compositions:
    """Host, first donor, and the recipe's merge at several alphas.

    at: alpha -> a context that gives a model, whose native view speaks for the merge inside.
    models: every model and where it came from; notes: what the check of the models noted.
    """

    recipe: Recipe
    host: HookedLM
    donor: HookedLM
    at: dict[float, Callable[[], AbstractContextManager[HookedLM]]]
    models: dict[str, str | None]
    notes: tuple[str, ...] = ()

    @property
    def has_stream(self) -> bool:
        """Whether there is a merged residual stream; in an ensemble every model keeps its own."""
        return self.recipe.space != "logits"


def compositions(
    recipe: Recipe,
    alphas: Sequence[float],
    *,
    device: str | None = None,
    dtype: str | None = None,
    loaded: Sequence[HookedLM] = (),
) -> Compositions:
    """Load what a recipe names. For space 'weights' one merged model an alpha stands in memory.

    loaded: models in memory, taken where the recipe names them.
    """
    model = SourceLoader(device, dtype, tuple(loaded))
    if recipe.space == "weights":
        return _of_weights(recipe, alphas, model)
    composed = _at(recipe, alphas[0], model)
    assert isinstance(composed, LatentMerge | LogitEnsemble)
    return compositions_of(composed, alphas)


def compositions_of(merge: LatentMerge | LogitEnsemble, alphas: Sequence[float]) -> Compositions:
    """The same of a merge that is loaded already."""

    @contextmanager
    def at(alpha: float) -> Iterator[HookedLM]:
        before: Any = merge.alpha
        merge.alpha = alpha
        try:
            with merge.hooks():
                yield merge.host
        finally:
            merge.alpha = before

    return Compositions(
        recipe=merge.recipe,
        host=merge.host,
        donor=merge.donors[0],
        at={alpha: partial(at, alpha) for alpha in alphas},
        models=models_of(merge),
        notes=merge.notes,
    )


def _of_weights(recipe: Recipe, alphas: Sequence[float], model: SourceLoader) -> Compositions:
    merged: dict[float, HookedLM] = {}
    for alpha in alphas:
        composed = _at(recipe, alpha, model)
        assert isinstance(composed, HookedLM)
        merged[alpha] = composed
    host, donor = model(recipe.host), model(recipe.donors[0])
    others = [*recipe.donors[1:], *([] if recipe.base is None else [recipe.base])]
    unread = {source_name(source): origin_of_source(source) for source in others}
    return Compositions(
        recipe=recipe,
        host=host,
        donor=donor,
        at={alpha: partial(nullcontext, one) for alpha, one in merged.items()},
        models=unread | origins_of([host, donor]),
    )


def _at(
    recipe: Recipe, alpha: float, model: SourceLoader
) -> LatentMerge | LogitEnsemble | HookedLM:
    return compose(
        recipe.model_copy(update={"alpha": alpha}),
        device=model.device,
        dtype=model.dtype,
        loaded=model.loaded,
    )
