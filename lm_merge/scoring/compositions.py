"""A recipe unchanged and at further alphas, in any space: both parents, and the merge at each."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from lm_merge.models import HookedLM
from lm_merge.models.adapters import Adapter
from lm_merge.models.adapters.adapted import with_read_adapter
from lm_merge.recipes import Recipe, Source
from lm_merge.spaces import AdapterMerge, Composed, LatentMerge, LogitEnsemble
from lm_merge.spaces.compose import compose
from lm_merge.spaces.source_loader import SourceLoader

Entered = Callable[[], AbstractContextManager[HookedLM]]
NO_ONE_ALPHA = math.nan  # of a recipe whose blocks or tensors have several, or that gives none


@dataclass(frozen=True)
class Compositions:
    """Host, first donor, and the recipe's merge at its own and at further alphas.

    at: alpha, in rising order -> a context in which the model that it gives computes the merge, on its
    native view. own: the alpha of the recipe unchanged; NO_ONE_ALPHA where not all of it has one.
    models: every model, or the source of one that was read but is not in memory. notes: what the check
    of the models noted.
    """

    recipe: Recipe
    host: HookedLM
    donor: HookedLM
    at: dict[float, Entered]
    own: float
    models: tuple[HookedLM | Adapter | Source, ...]
    notes: tuple[str, ...] = ()

    @property
    def has_stream(self) -> bool:
        """Whether there is a merged residual stream; in an ensemble every model keeps its own."""
        return self.recipe.space != "logits"


def compositions(
    recipe: Recipe,
    alphas: Sequence[float] = (),
    *,
    device: str | None = None,
    dtype: str | None = None,
    loaded: Sequence[HookedLM] = (),
) -> Compositions:
    """Load what a recipe names. For space 'weights' one merged model an alpha is held in memory.

    alphas: weights of the donors besides the recipe's own. loaded: models in memory, reused where the
    recipe names them.
    """
    model = SourceLoader(device, dtype, tuple(loaded))
    if recipe.space == "weights":
        return _of_weights(recipe, alphas, model)
    composed = _composed(recipe, model)
    if not isinstance(composed, LatentMerge | LogitEnsemble | AdapterMerge):
        raise ValueError(
            f"space={recipe.space!r} is not one whose alpha this analysis can vary; take latents, "
            "logits, weights or adapters, or name the recipe among the systems of analyses.comparison"
        )
    return compositions_of(composed, alphas)


def compositions_of(
    merge: LatentMerge | LogitEnsemble | AdapterMerge, alphas: Sequence[float] = ()
) -> Compositions:
    """The same of a merge that is loaded already; of adapters, the donor is the base with the first."""
    own = _own_alpha(merge)

    @contextmanager
    def as_it_stands() -> Iterator[HookedLM]:
        with merge.hooks():
            yield merge.host

    @contextmanager
    def at(alpha: float) -> Iterator[HookedLM]:
        before: Any = merge.alpha
        merge.alpha = alpha
        try:
            with merge.hooks():
                yield merge.host
        finally:
            merge.alpha = before

    base = merge.base if isinstance(merge, LatentMerge) else None
    first = merge.donors[0]
    return Compositions(
        recipe=merge.recipe,
        host=merge.host,
        donor=first if isinstance(first, HookedLM) else with_read_adapter(merge.host, first),
        at={
            alpha: as_it_stands if alpha is own else partial(at, alpha)
            for alpha in _in_order(own, alphas)
        },
        own=own,
        models=(merge.host, *merge.donors, *(() if base is None else (base,))),
        notes=merge.notes,
    )


def _own_alpha(merge: LatentMerge | LogitEnsemble | AdapterMerge) -> float:
    """The one alpha of a merge; NO_ONE_ALPHA where its parts have several."""
    if isinstance(merge, AdapterMerge):
        totals = {round(sum(row), 12) for row in merge.coefficients.values()}
        return totals.pop() if len(totals) == 1 else NO_ONE_ALPHA
    return merge.alpha if isinstance(merge.alpha, float) else NO_ONE_ALPHA


def _of_weights(recipe: Recipe, alphas: Sequence[float], model: SourceLoader) -> Compositions:
    own = NO_ONE_ALPHA if recipe.alpha is None else recipe.alpha
    merged: dict[float, HookedLM] = {}
    for alpha in _in_order(own, alphas):
        varied = recipe if alpha is own else recipe.model_copy(update={"alpha": alpha})
        composed = _composed(varied, model)
        assert isinstance(composed, HookedLM)
        merged[alpha] = composed
    host, donor = model(recipe.host), model(recipe.donors[0])
    unread = (*recipe.donors[1:], *(() if recipe.base is None else (recipe.base,)))
    return Compositions(
        recipe=recipe,
        host=host,
        donor=donor,
        at={alpha: partial(nullcontext, one) for alpha, one in merged.items()},
        own=own,
        models=(*unread, host, donor),
    )


def _in_order(own: float, alphas: Sequence[float]) -> list[float]:
    """Each alpha once, in rising order; NO_ONE_ALPHA comes first."""
    return sorted(
        dict.fromkeys((own, *alphas)), key=lambda alpha: -math.inf if math.isnan(alpha) else alpha
    )


def _composed(recipe: Recipe, model: SourceLoader) -> Composed:
    return compose(recipe, device=model.device, dtype=model.dtype, loaded=model.loaded)
