"""Recipes of weight merges: parameter tensors, merged once into a checkpoint."""

from pathlib import Path
from typing import Literal

from pydantic import Field, FiniteFloat, field_serializer, field_validator, model_validator

from lm_merge.recipes.parameters import Setting, check_settings
from lm_merge.recipes.recipe import Recipe
from lm_merge.recipes.similarity import with_chosen_models
from lm_merge.recipes.slices import Slice
from lm_merge.recipes.sources import Source

NAMES_OF_OTHER_SPACES = {"lerp": "linear"}  # operator -> method


class WeightRecipe(Recipe, frozen=True):
    """A merge of parameter tensors by one of the methods of `lm_merge.operators.weight_methods`.

    Host and donors are merged whole, by alpha; or slices name which blocks of which models are merged
    into which blocks of the output, each with its parameters, `weight` among them.
    """

    space: Literal["weights"] = Field(default="weights", description="where the merge happens")
    donors: tuple[Source, ...] = Field(
        default=(), description="the other models; with slices, the further models that they name"
    )
    operator: str = Field(default="slerp", description="the merge method")
    base: Source | None = Field(
        default=None, description="common ancestor, where the method needs one"
    )
    donor_weights: tuple[FiniteFloat, ...] | None = Field(
        default=None, description="the donors' parts of alpha, equal if None"
    )
    operator_args: dict[str, Setting] = Field(
        default_factory=dict,
        description="parameters of the method: numbers, lists over the blocks, or filters",
    )
    slices: tuple[Slice, ...] | None = Field(
        default=None, min_length=1, description="blocks of the output, from the first to the last"
    )
    tokenizer_source: str | None = Field(
        default=None,
        description="model whose tokenizer and vocabulary the output has: base (the host), or "
        "model:<name>; None: the host's, with rows as they are",
    )
    unused_filters: Literal["refuse", "note"] = Field(
        default="refuse",
        description="what to do with a filter that fits no tensor; mergekit's format: note",
    )
    data: Path | tuple[str, ...] | None = Field(
        default=None,
        description="prompts of regmean and fisher, a text file with one a line, or the prompts "
        "themselves",
    )

    @model_validator(mode="before")
    @classmethod
    def _chosen_by_similarity(cls, given: object) -> object:
        return with_chosen_models(given)

    @field_validator("donor_weights", mode="before")
    @classmethod
    def _one_list(cls, donor_weights: object) -> object:
        return refuse_parts_by_block(donor_weights, "weights")

    @field_validator("operator_args", mode="before")
    @classmethod
    def _three_forms(cls, operator_args: object) -> object:
        check_settings(operator_args, "operator_args")
        return operator_args

    @field_serializer("data")
    def _plain_data(self, data: Path | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        return str(data) if isinstance(data, Path) else data  # YAML knows no Path

    @model_validator(mode="after")
    def _whole_or_in_slices(self) -> "WeightRecipe":
        if self.slices is None and not self.donors:
            raise ValueError(
                "donors: there is none; give at least one model to merge with the host"
            )
        both = {"alpha": self.alpha, "donor_weights": self.donor_weights}
        given = [f"{key}={value}" for key, value in both.items() if value is not None]
        if self.slices is not None and given:
            raise ValueError(
                f"{', '.join(given)}: slices have their own weights; give them as parameters of the "
                "slices' sources, and leave this out"
            )
        return self

    @model_validator(mode="after")
    def _one_weight_a_donor(self) -> "WeightRecipe":
        if self.alpha is None and self.donor_weights is not None:
            raise ValueError("donor_weights are parts of alpha; give alpha, too")
        if self.alpha is not None and "t" in self.operator_args:
            raise ValueError(
                "operator_args: t and alpha both give the donor's weight; leave one out"
            )
        return self


def refuse_parts_by_block(donor_weights: object, space: str) -> object:
    """The donors' parts as they are; ValueError where they differ from block to block."""
    if isinstance(donor_weights, dict):
        raise ValueError(
            f"donor_weights={donor_weights}: parts by block are for space 'latents'; give "
            f"space {space!r} a list, one for each donor"
        )
    return donor_weights
