"""Coefficients as a file: what a fit or a search found, and what a recipe's `coefficients:` reads."""

import json
from pathlib import Path

from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator

from lm_merge.coefficients.groups import Rule
from lm_merge.errors import one_line


class NamedSource(BaseModel, frozen=True, extra="forbid"):
    """A source of the merge: its name in the recipe, and the digest of its files if that is known."""

    name: str = Field(min_length=1)
    fingerprint: str | None = None


class Group(BaseModel, frozen=True, extra="forbid"):
    """Modules that share a row: those whose path contains `filter` and matches `pattern`."""

    name: str = Field(min_length=1)
    filter: str | None = None
    pattern: str | None = None


class CoefficientFile(BaseModel, frozen=True, extra="forbid"):
    """A matrix of coefficients [groups, sources], and where it comes from.

    groups: in the order in which they are tried; the first that fits a module counts. values: one row a
    group, one number a source, in the order of sources. objective, data_digest, seed: of the fit or the
    search, None for coefficients that were chosen by hand.
    """

    sources: tuple[NamedSource, ...] = Field(min_length=1)
    groups: tuple[Group, ...] = Field(min_length=1)
    values: tuple[tuple[FiniteFloat, ...], ...]
    objective: str | None = None
    data_digest: str | None = None
    seed: int | None = None

    @model_validator(mode="after")
    def _one_row_a_group(self) -> "CoefficientFile":
        names = [one.name for one in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"sources {names}: a name occurs twice")
        if len(self.values) != len(self.groups):
            raise ValueError(
                f"values has {len(self.values)} rows for {len(self.groups)} groups; give one a group"
            )
        for group, row in zip(self.groups, self.values, strict=True):
            if len(row) != len(names):
                raise ValueError(
                    f"the row of group {group.name!r} has {len(row)} numbers for {len(names)} sources"
                )
        return self

    @classmethod
    def load(cls, path: str | Path) -> "CoefficientFile":
        """Read a file; OSError where it is not there, ValueError that names what is wrong in it."""
        path = Path(path)
        if not path.is_file():
            raise OSError(f"coefficient file {str(path)!r} is no file")
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise ValueError(f"coefficient file {path}: {one_line(error)}") from error
        except ValueError as error:
            raise ValueError(f"coefficient file {path} is no JSON: {error}") from error

    def save(self, path: str | Path) -> Path:
        """Write as JSON; `load` gives the same coefficients back, bit for bit."""
        path = Path(path)
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return path

    def rules(self, names: tuple[str, ...] | list[str]) -> list[Rule]:
        """The rows as rules, with the columns in the order of these names.

        Raises ValueError unless the names are those of the file's sources.
        """
        own = [one.name for one in self.sources]
        if set(own) != set(names):
            raise ValueError(
                f"the coefficient file is for {', '.join(own)}, the recipe's donors are "
                f"{', '.join(names)}; take the file that belongs to these donors"
            )
        order = [own.index(name) for name in names]
        return [
            Rule((tuple(row[place] for place in order),), group.filter, group.pattern)
            for group, row in zip(self.groups, self.values, strict=True)
        ]
