"""From a recipe to a merge that runs."""

import inspect
from pathlib import Path
from typing import Any

import torch

from lm_merge.models import HookedLM, load
from lm_merge.operators import get_operator
from lm_merge.recipe import Recipe, Source, as_source
from lm_merge.spaces.latents import LatentMerge


def compose(
    recipe: str | Path | dict[str, Any] | Recipe,
    *,
    device: str | torch.device | None = None,
    dtype: str | None = None,
) -> LatentMerge:
    """Load the models that a recipe names and merge them as it says.

    recipe: a YAML file, a dict, or a Recipe. device, dtype: as in `load`, for every model; a dtype
    in the recipe comes first.
    """
    recipe = Recipe.load(recipe)
    _check_arguments(recipe)  # before anything is loaded

    def model(source: Source) -> HookedLM:
        given = as_source(source)
        return load(given.model, device=device, dtype=given.dtype or dtype, revision=given.revision)

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


def _check_arguments(recipe: Recipe) -> None:
    known = set(inspect.signature(get_operator(recipe.operator)).parameters)
    known = known - {"states", "weights", "base"} | {"lambda_reg"}
    unknown = sorted(set(recipe.operator_args) - known)
    if unknown:
        raise ValueError(
            f"operator_args={unknown} are unknown to operator {recipe.operator!r}; "
            f"choose from {', '.join(sorted(known))}"
        )
