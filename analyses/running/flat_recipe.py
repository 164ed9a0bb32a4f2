"""The fields of every recipe side by side, for configurations that are not composed yet."""

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    model_validator,
)

from lm_merge.errors import one_line
from lm_merge.recipes import Recipe, Source, Space, Tolerance


class FlatRecipe(BaseModel):
    """Fields of a recipe, flat: `Recipe(**fields)` is the recipe, and checks it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: Space = Field(default="latents", description="where the merge happens")
    host: Source = Field(
        description="carries the forward pass and decodes; weights: the first model"
    )
    donors: tuple[Source, ...] = Field(min_length=1, description="the other models")
    base: Source | None = Field(
        default=None,
        description="latents, weights: common ancestor, where the operator needs one",
    )
    operator: str = Field(default="slerp", description="the merge operator")
    layers: dict[int, float] | tuple[int, ...] | None = Field(
        default=None,
        description="latents: blocks whose resid_post is merged, from 0: with an alpha each, or a list",
    )
    alpha: float | None = Field(
        default=None,
        description="donors' total weight, 0 host .. 1 donor; logits: None gives every model the same",
    )
    donor_weights: tuple[float, ...] | dict[int, tuple[float, ...]] | None = Field(
        default=None,
        description="the donors' parts of alpha, equal if None; latents: or block -> parts",
    )
    positions: Literal["all", "last"] = Field(
        default="all",
        description="latents: every token, or every token from the last prompt token on",
    )
    donor_stream: Literal["pure", "coupled"] = Field(
        default="pure",
        description="latents: whether donors go on from their own state or from the merged",
    )
    operator_args: dict[str, float | bool | str | list[float] | list[dict[str, Any]]] = Field(
        default_factory=dict,
        description="further arguments of the operator; weights: also lists, over blocks or filters",
    )
    data: Path | tuple[str, ...] | None = Field(
        default=None,
        description="weights: prompts of regmean and fisher, a text file with one a line, or the "
        "prompts themselves",
    )
    accept: tuple[Tolerance, ...] = Field(
        default=(), description="differences between the models that are accepted"
    )

    @model_validator(mode="before")
    @classmethod
    def _default_operator(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("space") == "logits" and "operator" not in given:
            return {**given, "operator": "soft"}
        return given

    @model_validator(mode="after")
    def _is_a_recipe(self) -> "FlatRecipe":
        try:
            Recipe(**self.recipe_fields)
        except ValidationError as error:
            raise ValueError(one_line(error)) from error
        return self

    @field_serializer("data")
    def _plain_data(self, data: Path | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        return str(data) if isinstance(data, Path) else data

    @property
    def recipe_fields(self) -> dict[str, Any]:
        """What `Recipe(...)` takes."""
        return {key: getattr(self, key) for key in FlatRecipe.model_fields}

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every model that is named: host, donors, and the ancestor where there is one."""
        return (self.host, *self.donors, *(() if self.base is None else (self.base,)))
