"""From a recipe of adapters to the arguments of the merge, and back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_merge.coefficients.coefficient_file import CoefficientFile
from lm_merge.coefficients.groups import Row, Rule
from lm_merge.recipes import AdapterRecipe
from lm_merge.recipes.coefficients import (
    CoefficientRule,
    Computed,
    FittedCoefficients,
)
from lm_merge.recipes.similarity import SimilarityCoefficients

GivenCoefficients = Sequence[Rule] | Mapping[str, Row] | Row


def merge_arguments(recipe: AdapterRecipe, names: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments of `AdapterMerge` for a recipe whose adapters have these names."""
    arguments: dict[str, Any] = {
        "operator": recipe.operator,
        "keys": recipe.keys,
        "heads": recipe.heads,
        "transforms": recipe.transforms,
        **recipe.operator_args,
    }
    if recipe.coefficients is not None:
        return {**arguments, "coefficients": given_coefficients(recipe, names)}
    alpha = 1.0 if recipe.alpha is None else recipe.alpha
    return {**arguments, "alpha": alpha, "donor_weights": recipe.donor_weights}


def given_coefficients(recipe: AdapterRecipe, names: Sequence[str]) -> GivenCoefficients:
    """The recipe's coefficients in a form that `AdapterMerge` takes.

    names: the adapters', in the order of the donors. Raises OSError and ValueError for a file that is
    not there or belongs to other adapters, and for coefficients that are to be computed first.
    """
    given = recipe.coefficients
    assert given is not None  # the caller has looked
    if isinstance(given, str):
        return CoefficientFile.load(given).rules(list(names))
    if isinstance(given, FittedCoefficients | SimilarityCoefficients):
        return COMPUTING[type(given)](given, names)
    if isinstance(given, dict):
        return given
    rules = [_rule(one) for one in given if isinstance(one, CoefficientRule)]
    return rules or tuple(float(one) for one in given if not isinstance(one, CoefficientRule))


def recipe_rules(rules: Sequence[Rule]) -> tuple[CoefficientRule, ...]:
    """Rules as a recipe holds them."""
    return tuple(
        CoefficientRule(
            filter=one.filter,
            pattern=one.pattern,
            value=one.rows[0] if len(one.rows) == 1 else one.rows,
        )
        for one in rules
    )


def _rule(one: CoefficientRule) -> Rule:
    return Rule(one.rows, one.filter, one.pattern)


def _fit_first(given: Any, names: Sequence[str]) -> GivenCoefficients:
    raise ValueError(
        f"coefficients: {{fit: {given.fit}}} are fitted to data first: run the recipe with python -m "
        "analyses.adapters, which writes a coefficient file, and give that file as coefficients"
    )


def _by_similarity(given: Any, names: Sequence[str]) -> GivenCoefficients:
    """One number an adapter: its weight where it is chosen, else 0; rows are the adapters' names."""
    if given.sources is not None:
        raise ValueError(
            "coefficients: sources: the adapters are the recipe's donors; leave it out"
        )
    selection, _ = given.choose({name: name for name in names})
    weights = dict(zip(selection.names, selection.weights, strict=True))
    return tuple(weights.get(name, 0.0) for name in names)


# How coefficients of each computed kind are found; a kind that needs data refuses here, with the way.
COMPUTING: dict[type[Computed], Callable[[Any, Sequence[str]], GivenCoefficients]] = {
    FittedCoefficients: _fit_first,
    SimilarityCoefficients: _by_similarity,
}
