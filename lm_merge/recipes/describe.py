"""From a recipe for weights to the description of the merge."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from lm_merge.coefficients.shares import donor_shares
from lm_merge.operators.weight_methods import WEIGHT_METHODS, get_weight_method
from lm_merge.recipes.parameters import Setting
from lm_merge.recipes.prompts import read_prompts
from lm_merge.recipes.slices import Slice, SliceSource
from lm_merge.recipes.sources import ModelSource, Source, as_source
from lm_merge.recipes.weight_description import Compat, Description
from lm_merge.recipes.weights import NAMES_OF_OTHER_SPACES, WeightRecipe

WITHOUT_WEIGHTS = ("model_stock",)


def describe(
    recipe: WeightRecipe,
    compat: Compat | None = None,
    prompts: str | Path | Sequence[str] | None = None,
) -> Description:
    r"""The description that a recipe amounts to, checked as far as that needs no model.

    Without slices, models are the host and the donors, in this order. With alpha, their weights are
    1 - alpha for the host and alpha times each donor's part (equal, or donor_weights); without, every
    weight is 1 (which a method that divides by the sum turns into the mean). A host that is the base
    itself is left out, for its task vector is 0: then `base + lambda * alpha * sum part_i (donor_i -
    base)` is what task_arithmetic gives. operator `lerp` is `linear`; `task_vector` is, as in latent
    space, $h + \sum_i w_i (d_i - b)$. operator_args are the method's parameters (density, lambda,
    slerp's t in place of alpha, ...), each a number, a gradient over the blocks or a list of {filter,
    value}, and `seed`, of random masks. The output has the dtype that the host is loaded in; apart from
    that, two sources of one model and revision are one model. prompts stand for the recipe's data.
    """
    if compat not in (None, "mergekit"):
        raise ValueError(f"compat={compat!r} is unknown; choose mergekit, or leave it out")
    method = NAMES_OF_OTHER_SPACES.get(recipe.operator, recipe.operator)
    parameters = dict(recipe.operator_args)
    seed = _seed(parameters.pop("seed", 0))
    slices, base = _slices(recipe, method)
    if method == "task_vector":
        method, parameters = "linear", {**parameters, "normalize": False}
    data = recipe.data if prompts is None else prompts
    content = recipe.model_dump(exclude_defaults=True, exclude_none=True)
    description = Description(
        method=method,
        host=_files(recipe.host),
        slices=slices,
        base=base,
        parameters=parameters,
        dtype=as_source(recipe.host).dtype,
        tokenizer_source=recipe.tokenizer_source,
        compat=compat,
        seed=seed,
        prompts=() if data is None else read_prompts(data),
        accept=recipe.accept,
        unused_filters=recipe.unused_filters,
        text=yaml.safe_dump({"space": recipe.space, **content}, sort_keys=False),
    )
    description.check()
    return description


def _seed(given: Setting) -> int:
    if not isinstance(given, int | float) or given != int(given):
        raise ValueError(f"operator_args: seed={given!r} is no whole number")
    return int(given)


def _slices(recipe: WeightRecipe, method: str) -> tuple[tuple[Slice, ...], ModelSource | None]:
    """What is merged, with its weight, and the ancestor if the method itself reads one."""
    if method not in {*WEIGHT_METHODS, "task_vector"}:
        get_weight_method(method)
    base = None if recipe.base is None else _files(recipe.base)
    if recipe.slices is not None:
        if method == "task_vector":
            raise ValueError("operator 'task_vector' takes no slices; take 'task_arithmetic'")
        return tuple(map(_slice_of_files, recipe.slices)), base
    if method == "passthrough":
        raise ValueError("operator 'passthrough' needs slices: blocks of models, one after another")
    if method in WITHOUT_WEIGHTS and recipe.alpha is not None:
        raise ValueError(f"operator {method!r} reads no weights; leave alpha out")
    models, weights = [_files(recipe.host), *map(_files, recipe.donors)], _weights(recipe)
    if method == "task_vector":
        if base is None or recipe.alpha is None:
            raise ValueError("operator 'task_vector' needs base and alpha")
        donors = weights[1:]
        models, weights, base = [*models, base], [1.0, *donors, -sum(donors)], None
    elif models[0] == base:
        models, weights = models[1:], weights[1:]
    sources = tuple(
        SliceSource(model=model, parameters={"weight": weight})
        for model, weight in zip(models, weights, strict=True)
    )
    return (Slice(sources=sources),), base


def _weights(recipe: WeightRecipe) -> list[float]:
    shares = donor_shares(recipe.donor_weights, len(recipe.donors))
    if recipe.alpha is None:
        return [1.0] * (len(shares) + 1)
    return [1 - recipe.alpha, *(recipe.alpha * share for share in shares)]


def _slice_of_files(one: Slice) -> Slice:
    sources = (source.model_copy(update={"model": _files(source.model)}) for source in one.sources)
    return one.model_copy(update={"sources": tuple(sources)})


def _files(source: Source) -> ModelSource:
    """A source without how it would be loaded, which does not change its files."""
    given = as_source(source)
    return ModelSource(model=given.model, revision=given.revision, adapter=given.adapter)
