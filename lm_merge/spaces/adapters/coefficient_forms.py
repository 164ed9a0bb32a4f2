"""The forms in which a merge takes its coefficients: one row, rules, or module path -> row."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lm_merge.coefficients.groups import Row, Rule
from lm_merge.spaces.adapters.recipe_coefficients import recipe_rules

Coefficients = Sequence[Rule] | Mapping[str, Row] | Row


def as_rules(values: Coefficients) -> list[Rule]:
    """Any form of coefficients as rules."""
    if isinstance(values, Mapping):
        return [Rule((tuple(row),), pattern=f"^{re.escape(key)}$") for key, row in values.items()]
    if all(isinstance(one, Rule) for one in values):
        return list(values)  # pyright: ignore[reportReturnType] # all are rules
    return [Rule((tuple(float(one) for one in values),))]  # pyright: ignore[reportArgumentType]


def as_recipe_field(values: Coefficients) -> Any:
    """Coefficients in the form that a recipe has for them."""
    if isinstance(values, Mapping):
        return {key: tuple(row) for key, row in values.items()}
    rules = [one for one in values if isinstance(one, Rule)]
    return recipe_rules(rules) if rules else tuple(values)


def parts_of(rows: set[Row]) -> Row | None:
    """Each adapter's part in the one row that all modules share; None where there is none, or a part
    is negative, or all are 0."""
    row = next(iter(rows)) if len(rows) == 1 else ()
    return row if row and min(row) >= 0 and sum(row) > 0 else None
