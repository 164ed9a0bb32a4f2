"""From a recipe to a model that generates."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, overload

import torch

from lm_merge.models import HookedLM, load
from lm_merge.models.classifier import Classifier
from lm_merge.models.encoder import Encoder
from lm_merge.operators import get_operator
from lm_merge.operators.distributions import UNWEIGHTED_METHODS, get_ensemble_method
from lm_merge.recipes import (
    AdapterRecipe,
    LatentRecipe,
    LogitRecipe,
    ModelSource,
    Recipe,
    WeightRecipe,
    as_source,
)
from lm_merge.recipes.describe import describe
from lm_merge.recipes.recipe import is_recipe_file
from lm_merge.recipes.sources import Task
from lm_merge.spaces.adapters import AdapterMerge
from lm_merge.spaces.adapters.donors import merge_of
from lm_merge.spaces.adapters.methods import get_adapter_method
from lm_merge.spaces.adapters.options import read_options
from lm_merge.spaces.adapters.transforms import read_steps
from lm_merge.spaces.compose_task import compose_task, task_of
from lm_merge.spaces.composed import Composed, amount_phrase, composed_name
from lm_merge.spaces.label_votes import LabelVotes
from lm_merge.spaces.latents import LatentMerge, checked_settings
from lm_merge.spaces.logits import LogitEnsemble, ensemble_weights, weights_from_alpha
from lm_merge.spaces.source_loader import SourceLoader
from lm_merge.spaces.weights import merge_weights

RecipeLike = str | Path | dict[str, Any] | Recipe
Place = str | torch.device | None


@overload
def compose(
    recipe: RecipeLike,
    *,
    task: Literal["generation"] | None = None,
    device: Place = None,
    dtype: str | None = None,
    loaded: Iterable[HookedLM] = (),
) -> Composed: ...


@overload
def compose(
    recipe: RecipeLike, *, task: Literal["classification"], device: Place = None
) -> Classifier | LabelVotes: ...


@overload
def compose(recipe: RecipeLike, *, task: Literal["encoding"], device: Place = None) -> Encoder: ...


def compose(
    recipe: RecipeLike,
    *,
    task: Task | None = None,
    device: Place = None,
    dtype: str | None = None,
    loaded: Iterable[HookedLM] = (),
) -> Composed | Classifier | LabelVotes | Encoder:
    """Load the models that a recipe names and merge them in the space that it names.

    recipe: a YAML file, a dict, or a Recipe, ours or in mergekit's format. device, dtype:
    as in `load`, for every model; a dtype in the recipe comes first. loaded: models
    already in memory, reused when the recipe names them. Weight merges still read from disk, and
    their result cannot be named by another recipe. What can be checked without the models is checked
    before any is loaded. task: "classification" gives the merged classifier (space weights) or the vote
    (space logits), "encoding" the merged body of encoders (space weights); other spaces merge models
    that generate, and are refused.

    >>> import lm_merge as lm
    >>> recipe = {"host": "tiny-instruct", "donors": ["tiny-thinker"], "layers": {3: 0.25}}
    >>> lm.compose(recipe)
    LatentMerge('tiny-instruct' + tiny-thinker, slerp, layers={3: 0.25})
    >>> lm.compose({**recipe, "space": "logits", "layers": None, "alpha": 0.25}).weights
    (0.75, 0.25)
    """

    recipe = Recipe.load(recipe)
    if task in ("classification", "encoding"):
        if dtype is not None or tuple(loaded):
            raise ValueError(f"task={task!r} takes neither dtype nor loaded; leave them out")
        return compose_task(recipe, task, device)
    named = task_of(recipe)
    if named in ("classification", "encoding"):
        raise ValueError(
            f"the recipe's models have task={named!r}: give lm.compose the argument task={named!r}"
        )
    model = SourceLoader(device, dtype, tuple(loaded))
    return COMPOSERS[recipe.space](recipe, model)


def compose_latents(
    recipe: str | Path | dict[str, Any] | Recipe,
    *,
    device: str | torch.device | None = None,
    dtype: str | None = None,
) -> LatentMerge:
    """`compose` for whoever looks into the merged stream, which other spaces do not have."""
    recipe = Recipe.load(recipe)
    if recipe.space != "latents":
        raise ValueError(
            f"space={recipe.space!r} merges no residual stream to look into; take space 'latents'"
        )
    merge = compose(recipe, device=device, dtype=dtype)
    assert isinstance(merge, LatentMerge)
    return merge


def system(
    source: str | Path | dict[str, Any] | Recipe | Composed,
    *,
    device: str | torch.device | None = None,
    dtype: str | None = None,
) -> Composed:
    """Anything that generates, by name: a recipe (.yaml file, dict, Recipe) or a model alone.

    A str or Path that does not end in .yaml or .yml names a model, as in `load`. What is loaded
    already comes back as it is.
    """
    if isinstance(source, Composed):
        return source
    if isinstance(source, (dict, Recipe)) or is_recipe_file(source):
        return compose(source, device=device, dtype=dtype)
    return load(source, device=device, dtype=dtype)


def _latents(recipe: LatentRecipe, model: SourceLoader) -> LatentMerge:
    known = set(inspect.signature(get_operator(recipe.operator)).parameters)
    known -= {"states", "weights", "base"}
    _check_operator_args(
        recipe, known | ({"lambda_reg"} if recipe.operator == "regmean" else set())
    )
    checked_settings(
        recipe.operator,
        recipe.operator_args,
        layers=recipe.layers,
        alpha=recipe.alpha,
        donor_weights=recipe.donor_weights,
        n_donors=len(recipe.donors),
        has_base=recipe.base is not None,
    )
    return LatentMerge(
        model(recipe.host),
        [model(source) for source in recipe.donors],
        operator=recipe.operator,
        layers=recipe.layers,
        alpha=recipe.alpha,
        donor_weights=recipe.donor_weights,
        base=None if recipe.base is None else model(recipe.base),
        positions=recipe.positions,
        donor_stream=recipe.donor_stream,
        accept=recipe.accept,
        **recipe.operator_args,
    )


def _logits(recipe: LogitRecipe, model: SourceLoader) -> LogitEnsemble:
    get_ensemble_method(recipe.operator)
    _check_operator_args(recipe, set())
    weights = _weights_of(recipe)
    sources = (recipe.host, *recipe.donors)
    ensemble = partial(LogitEnsemble, weights=weights, method=recipe.operator, accept=recipe.accept)
    return ensemble([model(source) for source in sources])


def _weights(recipe: WeightRecipe, model: SourceLoader) -> HookedLM:
    """The merged checkpoint, loaded; its folder is gone when this returns.

    It is written in the dtype in which the host computes, which may be wider than that of its files,
    so that it is compared with its parents without a rounding of its own.
    """
    describe(recipe)  # checks it, before a model is asked for its dtype
    host = as_source(recipe.host).model_copy(update={"dtype": model.dtype_of(recipe.host)})
    recipe = recipe.model_copy(update={"host": host})
    with TemporaryDirectory() as scratch:
        merged = model(str(merge_weights(recipe, Path(scratch) / "merged_weights")))
    names = [_short_name(as_source(one)) for one in (recipe.host, *recipe.donors)]
    amount = "" if recipe.alpha is None else amount_phrase([recipe.alpha])
    merged.name = composed_name(names, "weights", recipe.operator, amount)
    merged.source, merged.in_memory_only = merged.name, True
    return merged


def _short_name(source: ModelSource) -> str:
    name = Path(source.model).name
    return name if source.adapter is None else f"{name}+{Path(source.adapter).name}"


def _adapters(recipe: AdapterRecipe, model: SourceLoader) -> AdapterMerge:
    read_options(get_adapter_method(recipe.operator), recipe.operator_args)
    read_steps(recipe.transforms)
    return merge_of(recipe, model(recipe.host))


def _weights_of(recipe: LogitRecipe) -> tuple[float, ...] | None:
    """A logits recipe's weights: (1 - alpha, alpha x parts); None, equal ones, without an alpha."""
    if recipe.alpha is None:
        return None
    if recipe.operator in UNWEIGHTED_METHODS:
        raise ValueError(
            f"alpha={recipe.alpha}: operator {recipe.operator!r} of space 'logits' gives every model "
            "one vote; leave alpha out, or take 'weighted_majority'"
        )
    weights = weights_from_alpha(recipe.alpha, recipe.donor_weights, len(recipe.donors))
    return ensemble_weights(weights, len(weights), recipe.operator)


def _check_operator_args(recipe: Recipe, known: set[str]) -> None:
    unknown = sorted(set(recipe.operator_args) - known)
    if unknown:
        remedy = f"choose from {', '.join(sorted(known))}" if known else "it takes none"
        raise ValueError(
            f"operator_args={unknown} are unknown to operator {recipe.operator!r} of space "
            f"{recipe.space!r}; {remedy}"
        )


Composer = Callable[[Any, SourceLoader], Composed]
COMPOSERS: dict[str, Composer] = {  # each takes the recipe of its space
    "latents": _latents,
    "weights": _weights,
    "adapters": _adapters,
    "logits": _logits,
}
