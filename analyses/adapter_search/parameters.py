"""From values of a search to the recipe of a merge."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analyses.adapter_search.reference import PARAMETER
from analyses.running.recipe_options import changed
from lm_merge.recipes import Recipe
from lm_merge.tuning.search.space import Parameter, SearchSpace

COEFFICIENT, FIELD = "coefficient.", "recipe."


def check_parameters(
    recipe: Recipe,
    parameters: Mapping[str, Parameter],
    donors: Sequence[str],
    reference: Path | None = None,
) -> None:
    """Raise ValueError for names that stand for nothing in a recipe of these donors.

    reference: a file whose method's parameters may be varied, then these alone.
    """
    SearchSpace(parameters)
    of_file = [name for name in parameters if name.startswith(PARAMETER)]
    if of_file and (reference is None or len(of_file) < len(parameters)):
        raise ValueError(
            f"space {of_file[0]}: {PARAMETER}NAME varies a parameter of the file given as reference, "
            "and only such names do then"
        )
    if of_file:
        return
    for name in parameters:
        if name.startswith(COEFFICIENT):
            donor = _donor(name, donors)
            if donor is None:
                raise ValueError(
                    f"space {name}: no adapter has this name; choose from {', '.join(donors)}"
                )
            if recipe.coefficients is not None:
                raise ValueError(
                    f"space {name}: the recipe has coefficients of its own; leave them out"
                )
        elif not name.startswith(FIELD) or name.split(".")[1] not in type(recipe).model_fields:
            raise ValueError(
                f"space {name}: choose coefficient.ADAPTER, coefficient.ADAPTER.TEXT, or recipe.FIELD "
                f"with a field of the recipe: {', '.join(type(recipe).model_fields)}"
            )


def varied_recipe(recipe: Recipe, values: Mapping[str, Any], donors: Sequence[str]) -> Recipe:
    """The recipe with these values.

    A coefficient that is not named keeps the recipe's: alpha times the adapter's part.
    """
    fields = {key.removeprefix(FIELD): one for key, one in values.items() if key.startswith(FIELD)}
    found = changed(recipe, fields) if fields else recipe
    rows = {key: float(one) for key, one in values.items() if key.startswith(COEFFICIENT)}
    if not rows:
        return found
    default = _own_row(found, len(donors))
    by_text: dict[str | None, dict[int, float]] = {}
    for name, value in rows.items():
        donor = _donor(name, donors)
        assert donor is not None  # checked by the configuration
        text = name.removeprefix(f"{COEFFICIENT}{donor}").removeprefix(".") or None
        by_text.setdefault(text, {})[donors.index(donor)] = value
    default = _with(default, by_text.pop(None, {}))
    rules = [{"filter": text, "value": _with(default, own)} for text, own in by_text.items()]
    coefficients = [*rules, {"value": default}] if rules else default
    return found.with_fields(alpha=None, donor_weights=None, coefficients=coefficients)


def _with(row: Sequence[float], own: Mapping[int, float]) -> list[float]:
    return [own.get(place, one) for place, one in enumerate(row)]


def _own_row(recipe: Recipe, n_donors: int) -> list[float]:
    from lm_merge.coefficients.shares import donor_shares  # needs torch, which the options do not

    weights = recipe.donor_weights
    assert not isinstance(weights, dict)  # of latents only
    alpha = 1.0 if recipe.alpha is None else recipe.alpha
    return [alpha * share for share in donor_shares(weights, n_donors)]


def _donor(name: str, donors: Sequence[str]) -> str | None:
    """The adapter that a parameter names; the longest that fits, since names may have dots."""
    rest = name.removeprefix(COEFFICIENT)
    fitting = [one for one in donors if rest == one or rest.startswith(f"{one}.")]
    return max(fitting, key=len, default=None)
