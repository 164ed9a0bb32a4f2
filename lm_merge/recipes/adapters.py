"""Recipes of adapter merges: LoRA updates of one base model, in memory or into a new adapter."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, FiniteFloat, field_validator, model_validator

from lm_merge.recipes.coefficients import Coefficients, check_coefficients, read_coefficients
from lm_merge.recipes.recipe import Recipe
from lm_merge.recipes.sources import ModelSource, Source, as_source
from lm_merge.recipes.weights import refuse_parts_by_block

Option = bool | int | FiniteFloat | str
IN_OPERATOR_ARGS = ("keys", "heads", "transforms")  # fields that may stand there, too


class AdapterRecipe(Recipe, frozen=True):
    """A merge of LoRA adapters of one base model by one of `ADAPTER_METHODS`.

    A donor is an adapter: a folder, a bundled name, a hub name, a name from the file of names, or
    the file of another recipe of this space (a merge of merges), which must stay low rank.
    """

    space: Literal["adapters"] = Field(default="adapters", description="where the merge happens")
    host: Source = Field(description="the base model of all the adapters")
    donors: tuple[Source, ...] = Field(
        min_length=1,
        description="adapters: folders, bundled names, hub names, names from adapters_file, or files of "
        "recipes of this space",
    )
    operator: str = Field(
        default="linear",
        description="linear (the weighted sum, exact), factor_mean, or a method of space 'weights'",
    )
    alpha: FiniteFloat | None = Field(
        default=None,
        description="the adapters' total coefficient: 1 (also None) with equal parts is the mean of the "
        "updates, n their sum",
    )
    donor_weights: tuple[FiniteFloat, ...] | None = Field(
        default=None, description="the adapters' parts of alpha, equal if None"
    )
    coefficients: Coefficients | None = Field(
        default=None,
        description="in place of alpha and donor_weights: one number an adapter; a list of {filter or "
        "pattern, value}; module -> numbers; a coefficient file (JSON)",
    )
    keys: Literal["union", "common", "strict"] = Field(
        default="union", description="modules that not all adapters update: 0, dropped, or refused"
    )
    heads: Literal["keep", "average", "error"] = Field(
        default="keep", description="modules that adapters trained whole"
    )
    transforms: tuple[str | dict[str, dict[str, Option] | None], ...] = Field(
        default=(),
        description="changes of each update before the merge: identity, trim, keep_random, "
        "equal_norm, elect",
    )
    operator_args: dict[str, Option] = Field(
        default_factory=dict, description="further arguments of the operator, such as density"
    )
    adapters_file: str | None = Field(
        default=None,
        description="YAML file, name -> folder or hub name; None: adapters.yaml if it is there",
    )

    @property
    def sources(self) -> tuple[Source, ...]:
        """The base model; donors are adapters of it, not models."""
        return (self.host,)

    @model_validator(mode="before")
    @classmethod
    def _policies_as_fields(cls, given: Any) -> Any:
        """keys, heads and transforms among the operator's arguments, as the fields that they are."""
        if not isinstance(given, dict) or not isinstance(given.get("operator_args"), Mapping):
            return given
        arguments = dict(given["operator_args"])
        found = {key: arguments.pop(key) for key in IN_OPERATOR_ARGS if key in arguments}
        twice = sorted(set(found) & set(given))
        if twice:
            raise ValueError(
                f"{twice[0]} is given twice, alone and in operator_args; leave one out"
            )
        return {**given, "operator_args": arguments, **found}

    @field_validator("donor_weights", mode="before")
    @classmethod
    def _one_list(cls, donor_weights: object) -> object:
        return refuse_parts_by_block(donor_weights, "adapters")

    @field_validator("donors")
    @classmethod
    def _adapters_by_name(cls, donors: tuple[Source, ...]) -> tuple[Source, ...]:
        for one in map(as_source, donors):
            if one != ModelSource(model=one.model, revision=one.revision):
                raise ValueError(
                    f"donors: {one.model!r} is an adapter, which has a name and a revision only; dtype "
                    "and device are the host's"
                )
        return donors

    @model_validator(mode="before")
    @classmethod
    def _form_of_coefficients(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("coefficients") is None:
            return given
        coefficients, donors = read_coefficients(given["coefficients"]), given.get("donors")
        if isinstance(donors, list | tuple):
            check_coefficients(coefficients, len(donors))
        return {**given, "coefficients": coefficients}

    @model_validator(mode="after")
    def _one_amount(self) -> "AdapterRecipe":
        amounts = {"alpha": self.alpha, "donor_weights": self.donor_weights}
        both = [f"{key}={value}" for key, value in amounts.items() if value is not None]
        if self.coefficients is not None and both:
            raise ValueError(
                f"coefficients and {both[0]} both give the adapters' coefficients; leave one out"
            )
        return self
