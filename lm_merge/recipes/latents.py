"""Recipes of latent merges: blocks whose residual streams are merged in every forward pass."""

from typing import Literal

from pydantic import Field, FiniteFloat, model_validator

from lm_merge.recipes.recipe import Recipe
from lm_merge.recipes.sources import Source


class LatentRecipe(Recipe, frozen=True):
    """A merge of residual streams, `resid_post` of chosen blocks."""

    space: Literal["latents"] = Field(default="latents", description="where the merge happens")
    operator: str = Field(
        default="slerp", description="lerp, regmean, slerp, task_vector, or one added to OPERATORS"
    )
    base: Source | None = Field(
        default=None, description="common ancestor, where the operator needs one"
    )
    layers: dict[int, FiniteFloat] | tuple[int, ...] = Field(
        description="blocks whose resid_post is merged, from 0: with an alpha each, or a list"
    )
    donor_weights: tuple[FiniteFloat, ...] | dict[int, tuple[FiniteFloat, ...]] | None = Field(
        default=None, description="the donors' parts of alpha, equal if None; or block -> parts"
    )
    positions: Literal["all", "last"] = Field(
        default="all", description="every token, or every token from the last prompt token on"
    )
    donor_stream: Literal["pure", "coupled"] = Field(
        default="pure", description="whether donors go on from their own state or from the merged"
    )

    @model_validator(mode="before")
    @classmethod
    def _layers_given(cls, given: object) -> object:
        if not isinstance(given, dict) or set(given) - set(cls.model_fields):
            return given  # an unknown key is reported first: it may be a misspelt `layers`
        if given.get("layers") is None:
            raise ValueError("layers is missing: space 'latents' needs the blocks to merge, from 0")
        return given

    @model_validator(mode="after")
    def _one_alpha(self) -> "LatentRecipe":
        if isinstance(self.layers, dict) and self.alpha is not None:
            raise ValueError(
                f"alpha={self.alpha} and layers={self.layers} both give the donors' weight; "
                "give a list of layers with alpha, or layers with an alpha each"
            )
        return self
