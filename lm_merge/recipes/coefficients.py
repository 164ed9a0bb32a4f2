"""The `coefficients` of a recipe: one row, rules, rows by module, a file, or how they are computed."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import BaseModel, FiniteFloat, ValidationError

from lm_merge.errors import one_line, short
from lm_merge.recipes.similarity import SimilarityCoefficients

Row = tuple[FiniteFloat, ...]


class CoefficientRule(BaseModel, frozen=True, extra="forbid"):
    """A row of coefficients for the modules whose path contains `filter` and matches `pattern`.

    value: one number a donor; or a list of such rows, spread evenly from the first block to the last
    and followed in straight lines between.
    """

    filter: str | None = None
    pattern: str | None = None
    value: Row | tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows from the first block to the last; one where all blocks have the same."""
        nested = [one for one in self.value if isinstance(one, tuple)]
        plain = [one for one in self.value if not isinstance(one, tuple)]
        return tuple(nested) if nested else (tuple(plain),)


class FittedCoefficients(BaseModel, frozen=True, extra="forbid"):
    """Coefficients that are fitted first, then written to a file; `fit` holds the fit's settings."""

    fit: dict[str, Any]


Computed = FittedCoefficients | SimilarityCoefficients
COMPUTED: dict[str, type[Computed]] = {  # key that tells how coefficients are computed -> class
    "fit": FittedCoefficients,
    "similarity": SimilarityCoefficients,
}
Coefficients = str | Row | tuple[CoefficientRule, ...] | Computed | dict[str, Row]


def read_coefficients(given: object) -> object:
    """A file's path as text, and a mapping that says how to compute as its class; others unchanged."""
    if isinstance(given, Path):
        return str(given)
    if not isinstance(given, Mapping):
        return given
    for key, kind in COMPUTED.items():
        if key in given:
            try:
                return kind.model_validate(given)
            except ValidationError as error:
                raise ValueError(f"coefficients: {one_line(error)}") from error
    return given


def check_coefficients(given: object, n_donors: int) -> None:
    """Raise ValueError that names the place unless `coefficients` has one of its forms."""
    if isinstance(given, str | BaseModel):
        return
    if isinstance(given, Mapping):
        for module, row in given.items():
            _check_row(row, n_donors, f"coefficients of {module!r}")
        return
    if not isinstance(given, Sequence) or not given:
        raise ValueError(
            f"coefficients={short(given)} is no row of numbers, no list of {{filter, value}}, no "
            "mapping of modules, and no file"
        )
    entries = [one.model_dump() if isinstance(one, CoefficientRule) else one for one in given]
    if not any(isinstance(one, Mapping) for one in entries):
        return _check_row(entries, n_donors, "coefficients")
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise ValueError(
                f"coefficients={short(given)} mixes numbers and {{filter, value}}; give one of them"
            )
        _check_rule(entry, n_donors)


def _check_rule(entry: Mapping[str, Any], n_donors: int) -> None:
    unknown = sorted(map(str, set(entry) - {"filter", "pattern", "value"}))
    if unknown or "value" not in entry:
        raise ValueError(
            f"coefficients: an entry has keys {sorted(map(str, entry))}; 'value' is needed, "
            "'filter' and 'pattern' are allowed"
        )
    value = entry["value"]
    gradient = isinstance(value, list | tuple) and any(isinstance(x, list | tuple) for x in value)
    for row in value if gradient else [value]:
        _check_row(row, n_donors, f"coefficients: value {short(value)}")


def _check_row(row: object, n_donors: int, where: str) -> None:
    if not isinstance(row, list | tuple) or not all(
        isinstance(one, int | float) and not isinstance(one, bool) and isfinite(one) for one in row
    ):
        raise ValueError(f"{where}: {short(row)} is no list of finite numbers, one a donor")
    if len(row) != n_donors:
        raise ValueError(f"{where}: {len(row)} numbers for {n_donors} donors; give one for each")
