"""Which systems a comparison runs, by name, and which of them it sets against each other."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from analyses.running.measured import in_latents, one_weight_a_donor
from analyses.running.recipe_words import at_alpha, own_alpha, source_name
from lm_merge.recipes import ModelSource, Recipe, Source, as_source

if TYPE_CHECKING:
    from lm_merge.spaces import Composed

System = ModelSource | Recipe
# the merge of weights that an operator on latents is set against; with one donor the regularised mean
# is linear interpolation in either space (Jin et al.'s regmean on weights is another method)
WEIGHT_OPERATOR = {"lerp": "linear", "slerp": "slerp", "regmean": "linear"}
WEIGHT_OPERATOR |= {"task_vector": "task_vector"}


def default_systems(recipe: Recipe, operators: tuple[str, ...]) -> dict[str, System]:
    """Parents; the recipe and latent merges by other operators, of the first also alpha 0 and 1; the
    merges of weights that belong to them; the logit ensemble.

    Raises ValueError for a recipe that merges of full models have no place for.
    """
    alpha = _one_alpha(recipe)
    operators = tuple(dict.fromkeys((*operators, recipe.operator)))
    if ("task_vector" in operators) != (recipe.base is not None):
        raise ValueError(
            f"recipe.base={recipe.base!r} and operators={list(operators)}: base, the common ancestor, "
            "is for task_vector, which needs it; give both or neither"
        )
    models = {"host": recipe.host, "donors": recipe.donors, "donor_weights": recipe.donor_weights}

    def ancestor(operator: str) -> Source | None:
        return recipe.base if operator == "task_vector" else None

    def latent(operator: str) -> Recipe:
        if operator == recipe.operator:
            return recipe
        given = {"operator": operator, "operator_args": {}, "base": ancestor(operator)}
        return at_alpha(recipe.with_fields(**given), alpha)

    systems: dict[str, System] = {"host": as_source(recipe.host)}
    for place, donor in enumerate(recipe.donors, start=1):
        systems["donor" if len(recipe.donors) == 1 else f"donor {place}"] = as_source(donor)
    for name in operators:
        systems[f"latents {name}"] = latent(name)
    for end in (0.0, 1.0):
        systems[f"latents {operators[0]} {end:g}"] = at_alpha(latent(operators[0]), end)
    for name in dict.fromkeys(WEIGHT_OPERATOR[name] for name in operators):
        of_weights = {"operator": name, "alpha": alpha, "base": ancestor(name)}
        systems[f"weights {name}"] = Recipe.model_validate(
            {"space": "weights", **models, **of_weights}
        )
    systems["logits soft"] = Recipe.model_validate(
        {"space": "logits", "operator": "soft", "alpha": alpha, "accept": recipe.accept, **models}
    )
    return systems


def _one_alpha(recipe: Recipe) -> float:
    in_latents(recipe, "it is compared with merges in other spaces; systems names any others")
    one_weight_a_donor(recipe)
    alpha = own_alpha(recipe)
    if alpha is None:
        raise ValueError(
            f"recipe.layers={recipe.layers}: merges of full models have one alpha, so blocks with an "
            "alpha each have no counterpart there; give systems in place of the recipe"
        )
    return alpha


def opposed(systems: dict[str, System]) -> tuple[tuple[str, str], ...]:
    """Each latent merge against the merge of weights that belongs to it, at the same alpha.

    Where there is no such pair: every system against each that comes after it.
    """
    recipes = {name: one for name, one in systems.items() if isinstance(one, Recipe)}
    found = tuple(
        (name, other)
        for name, latent in recipes.items()
        for other, weight in recipes.items()
        if latent.space == "latents"
        and weight.space == "weights"
        and weight.operator == WEIGHT_OPERATOR.get(latent.operator)
        and own_alpha(latent) == weight.alpha
    )
    return found or tuple(combinations(systems, 2))


def load_system(source: System, *, device: str | None, dtype: str | None) -> "Composed":
    """A model or a merge, ready to generate."""
    from lm_merge.models import load  # needs torch, which the options do not
    from lm_merge.spaces.compose import system

    if isinstance(source, Recipe):
        return system(source, device=device, dtype=dtype)
    return load(source.model, device=device, dtype=source.dtype or dtype, revision=source.revision)


def sources_of(systems: dict[str, System]) -> list[Source]:
    """Every model that the systems name, each once; another revision is another model."""
    found: dict[str, Source] = {}
    for one in systems.values():
        for source in one.sources if isinstance(one, Recipe) else (one,):
            found.setdefault(source_name(source), source)
    return list(found.values())


def is_recipe_file(source: object) -> TypeGuard[str]:
    """Whether a system is given as the file of a recipe."""
    return isinstance(source, str) and Path(source).suffix in (".yaml", ".yml")


def read_mappings(systems: object) -> object:
    """Mappings among systems as the model sources or recipes that they are; others unchanged."""
    if not isinstance(systems, dict):
        return systems
    return {name: _read(one) for name, one in systems.items()}


def named_systems(systems: Mapping[str, str | System | dict[str, Any]]) -> dict[str, System]:
    """Every system as a model source or a recipe, recipe files read."""
    return {name: _system(source) for name, source in systems.items()}


def _read(system: object) -> object:
    if not isinstance(system, dict):
        return system
    return ModelSource.model_validate(system) if "model" in system else Recipe.load(system)


def _system(source: str | System | dict[str, Any]) -> System:
    assert not isinstance(source, dict)  # read when the configuration was made
    if isinstance(source, Recipe):
        return source
    return Recipe.load(source) if is_recipe_file(source) else as_source(source)
