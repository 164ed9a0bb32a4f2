"""Recipes of ensembles: the models' next-token distributions, merged at every step."""

from typing import Literal

from pydantic import Field, FiniteFloat, field_validator, model_validator

from lm_merge.recipes.recipe import Recipe
from lm_merge.recipes.similarity import with_chosen_models
from lm_merge.recipes.weights import refuse_parts_by_block


class LogitRecipe(Recipe, frozen=True):
    """A merge of next-token distributions."""

    space: Literal["logits"] = Field(default="logits", description="where the merge happens")
    operator: str = Field(default="soft", description="soft, mean, majority or weighted_majority")
    alpha: FiniteFloat | None = Field(
        default=None,
        description="donors' total weight, 0 host .. 1 donor; None gives every model the same",
    )
    donor_weights: tuple[FiniteFloat, ...] | None = Field(
        default=None, description="the donors' parts of alpha, equal if None"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_ancestor(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("base") is not None:
            raise ValueError("base: space 'logits' needs no ancestor; leave it out")
        return given

    @model_validator(mode="before")
    @classmethod
    def _chosen_by_similarity(cls, given: object) -> object:
        return with_chosen_models(given)

    @field_validator("donor_weights", mode="before")
    @classmethod
    def _one_list(cls, donor_weights: object) -> object:
        return refuse_parts_by_block(donor_weights, "logits")

    @model_validator(mode="after")
    def _parts_of_an_alpha(self) -> "LogitRecipe":
        if self.donor_weights is not None and self.alpha is None:
            raise ValueError(
                f"donor_weights={list(self.donor_weights)} are parts of alpha, which is missing; give "
                "space 'logits' the donors' total weight as alpha"
            )
        return self
