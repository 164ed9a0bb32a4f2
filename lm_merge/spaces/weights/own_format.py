"""Our own recipe with `space: weights`, read into the description of a weight merge."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from lm_merge.coefficients.shares import donor_shares
from lm_merge.operators.weight_methods import WEIGHT_METHODS, get_weight_method
from lm_merge.recipes import ModelSource, Source, WeightRecipe, as_source
from lm_merge.spaces.weights.description import Compat, Description, Slice, SliceSource
from lm_merge.spaces.weights.prompts import read_prompts

NAMES_OF_OTHER_SPACES = {"lerp": "linear"}
WITHOUT_WEIGHTS = ("model_stock", "regmean", "fisher")


def from_recipe(
    recipe: WeightRecipe,
    compat: Compat | None = None,
    prompts: str | Path | Sequence[str] | None = None,
) -> Description:
    r"""The description that a recipe amounts to.

    Models are the host and the donors, in this order. With alpha, their weights are 1 - alpha for the
    host and alpha times each donor's part (equal, or donor_weights); without, every weight is 1 (which
    a method that divides by the sum turns into the mean). A host that is the base itself is left out,
    for its task vector is 0: then `base + lambda * alpha * sum part_i (donor_i - base)` is what
    task_arithmetic gives. operator `lerp` is `linear`; `task_vector` is, as in latent space,
    $h + \sum_i w_i (d_i - b)$. operator_args are the method's parameters (density, lambda, slerp's t in
    place of alpha, ...), each a number, a gradient over the blocks or a list of {filter, value}, and
    `seed`, of random masks. The output has the dtype that the host is loaded in; apart from that, two
    sources of one model and revision are one model. prompts stand for the recipe's data.
    """
    method = NAMES_OF_OTHER_SPACES.get(recipe.operator, recipe.operator)
    if "t" in recipe.operator_args and recipe.alpha is not None:
        raise ValueError("operator_args: t and alpha both give the donor's weight; leave one out")
    if method == "passthrough":
        raise ValueError("operator 'passthrough' needs slices: give a recipe in mergekit's format")
    if method not in {*WEIGHT_METHODS, "task_vector"}:
        get_weight_method(method)
    parameters = dict(recipe.operator_args)
    seed = parameters.pop("seed", 0)
    if not isinstance(seed, int | float) or seed != int(seed):
        raise ValueError(f"operator_args: seed={seed!r} is no whole number")
    sources, base = _sources(recipe, method)
    if method == "task_vector":
        method, parameters = "linear", {**parameters, "normalize": False}
    data = recipe.data if prompts is None else prompts
    return Description(
        method=method,
        slices=(Slice(sources),),
        base=base,
        parameters=parameters,
        dtype=as_source(recipe.host).dtype,
        compat=compat,
        seed=int(seed),
        given_host=_files(recipe.host),
        prompts=() if data is None else read_prompts(data),
        accept=recipe.accept,
        text=yaml.safe_dump(recipe.model_dump(exclude_defaults=True), sort_keys=False),
    )


def _sources(
    recipe: WeightRecipe, method: str
) -> tuple[tuple[SliceSource, ...], ModelSource | None]:
    """What is merged, with its weight, and the ancestor if the method itself reads one."""
    models = [_files(recipe.host), *map(_files, recipe.donors)]
    weights = _weights(recipe)
    if method in WITHOUT_WEIGHTS and recipe.alpha is not None:
        raise ValueError(f"operator {method!r} reads no weights; leave alpha out")
    base = None if recipe.base is None else _files(recipe.base)
    if method == "task_vector":
        if base is None or recipe.alpha is None:
            raise ValueError("operator 'task_vector' needs base and alpha")
        donors = weights[1:]
        models, weights, base = [*models, base], [1.0, *donors, -sum(donors)], None
    elif models[0] == base:
        models, weights = models[1:], weights[1:]
    pairs = zip(models, weights, strict=True)
    return tuple(SliceSource(model, None, {"weight": weight}) for model, weight in pairs), base


def _files(source: Source) -> ModelSource:
    """A source without the dtype it would be loaded in, which says nothing of its files."""
    return as_source(source).model_copy(update={"dtype": None})


def _weights(recipe: WeightRecipe) -> list[float]:
    shares = donor_shares(recipe.donor_weights, len(recipe.donors))
    if recipe.alpha is None:
        if recipe.donor_weights is not None:
            raise ValueError("donor_weights are parts of alpha; give alpha, too")
        return [1.0] * (len(shares) + 1)
    return [1 - recipe.alpha, *(recipe.alpha * share for share in shares)]
