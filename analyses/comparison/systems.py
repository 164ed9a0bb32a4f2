"""Which systems a comparison runs, by name, and which of them it sets against each other."""

from functools import partial
from itertools import combinations
from typing import Any

from analyses.running.inputs import recipe_sources, source_name
from lm_merge.models import load
from lm_merge.recipes import ModelSource, Recipe, Source, Tolerance, as_source
from lm_merge.spaces import Composed, system

System = ModelSource | Recipe
# the merge of weights that an operator on latents is set against; with one donor the regularised mean
# is linear interpolation in either space (Jin et al.'s regmean on weights is another method)
WEIGHT_OPERATOR = {"lerp": "linear", "slerp": "slerp", "regmean": "linear"}
WEIGHT_OPERATOR |= {"task_vector": "task_vector"}


def default_systems(
    host: Source,
    donors: tuple[Source, ...],
    *,
    layers: tuple[int, ...],
    alpha: float,
    operators: tuple[str, ...],
    base: Source | None = None,
    donor_weights: tuple[float, ...] | None = None,
    accept: tuple[Tolerance, ...] = (),
    **of_latents: Any,
) -> dict[str, System]:
    """Parents; latent merges, at alpha 0 and 1 too; merges of weights; the logit ensemble.

    of_latents: `positions` and `donor_stream` of a recipe.
    """
    merge = partial(Recipe, host=host, donors=donors, donor_weights=donor_weights)

    def latent(operator: str, alpha: float) -> Recipe:
        given = {"layers": layers, "accept": accept, "base": ancestor(operator), **of_latents}
        return merge(space="latents", operator=operator, alpha=alpha, **given)

    def ancestor(operator: str) -> Source | None:
        return base if operator == "task_vector" else None

    systems: dict[str, System] = {"host": as_source(host)}
    for place, donor in enumerate(donors, start=1):
        systems["donor" if len(donors) == 1 else f"donor {place}"] = as_source(donor)
    for name in operators:
        systems[f"latents {name}"] = latent(name, alpha)
    for end in (0.0, 1.0):
        systems[f"latents {operators[0]} {end:g}"] = latent(operators[0], end)
    for name in dict.fromkeys(WEIGHT_OPERATOR[name] for name in operators):
        of_weights = {"operator": name, "alpha": alpha, "base": ancestor(name)}
        systems[f"weights {name}"] = merge(space="weights", **of_weights)
    systems["logits soft"] = merge(space="logits", operator="soft", alpha=alpha, accept=accept)
    return systems


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
        and latent.alpha == weight.alpha
    )
    return found or tuple(combinations(systems, 2))


def load_system(source: System, *, device: str | None, dtype: str | None) -> Composed:
    """A model or a merge, ready to speak."""
    if isinstance(source, Recipe):
        return system(source, device=device, dtype=dtype)
    return load(source.model, device=device, dtype=source.dtype or dtype, revision=source.revision)


def sources_of(systems: dict[str, System]) -> list[Source]:
    """Every model that the systems name, each once; another revision is another model."""
    found: dict[str, Source] = {}
    for one in systems.values():
        for source in recipe_sources(one) if isinstance(one, Recipe) else (one,):
            found.setdefault(source_name(source), source)
    return list(found.values())
