"""Recipes of weight merges: parameter tensors, merged once into a checkpoint."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, FiniteFloat, field_serializer, field_validator

from lm_merge.recipes.recipe import Recipe
from lm_merge.recipes.sources import Source


class WeightRecipe(Recipe, frozen=True):
    """A merge of parameter tensors by one of the methods of `lm_merge.operators.weight_methods`."""

    space: Literal["weights"] = Field(default="weights", description="where the merge happens")
    operator: str = Field(default="slerp", description="the merge method")
    base: Source | None = Field(
        default=None, description="common ancestor, where the method needs one"
    )
    donor_weights: tuple[FiniteFloat, ...] | None = Field(
        default=None, description="the donors' parts of alpha, equal if None"
    )
    operator_args: dict[
        str, FiniteFloat | bool | str | list[FiniteFloat] | list[dict[str, Any]]
    ] = Field(
        default_factory=dict,
        description="parameters of the method: numbers, lists over the blocks, or filters",
    )
    data: Path | tuple[str, ...] | None = Field(
        default=None,
        description="prompts of regmean and fisher, a text file with one a line, or the prompts "
        "themselves",
    )

    @field_validator("donor_weights", mode="before")
    @classmethod
    def _one_list(cls, donor_weights: object) -> object:
        return refuse_parts_by_block(donor_weights, "weights")

    @field_serializer("data")
    def _plain_data(self, data: Path | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        return str(data) if isinstance(data, Path) else data  # YAML knows no Path


def refuse_parts_by_block(donor_weights: object, space: str) -> object:
    """The donors' parts as they are; ValueError where they differ from block to block."""
    if isinstance(donor_weights, dict):
        raise ValueError(
            f"donor_weights={donor_weights}: parts by block are for space 'latents'; give "
            f"space {space!r} a list, one for each donor"
        )
    return donor_weights
