"""A merge as data: sources, space, operator and weights, in YAML."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_serializer, model_validator

Space = Literal["latents", "weights", "logits"]
Tolerance = Literal["rope", "norm_eps", "special_tokens", "sliding_window"]


class ModelSource(BaseModel):
    """Where a model comes from: a folder, a hub name or a bundled name, and how to load it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="folder, hub name or bundled name")
    revision: str | None = Field(default=None, description="hub branch, tag or commit")
    dtype: str | None = Field(
        default=None, description="torch dtype by name; None: the checkpoint's"
    )


Source = str | ModelSource


def as_source(source: Source) -> ModelSource:
    """A source by name alone as a ModelSource; a ModelSource as it is."""
    return ModelSource(model=source) if isinstance(source, str) else source


class Recipe(BaseModel):
    """A merge of models in one of three spaces; unknown keys are refused.

    >>> recipe = Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers=(3,), alpha=0.5)
    >>> recipe.operator, recipe.space
    ('slerp', 'latents')
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: Space = Field(default="latents", description="where the merge happens")
    host: Source = Field(
        description="latents, logits: carries the forward pass and decodes; weights: the first model; "
        "everywhere its tokenizer, chat template and generation settings count"
    )
    donors: tuple[Source, ...] = Field(min_length=1, description="the other models")
    base: Source | None = Field(
        default=None,
        description="latents, weights: common ancestor, where the operator needs one",
    )
    operator: str = Field(
        default="slerp",
        description="latents, weights: the merge operator; logits: soft (unless given), mean, "
        "majority or weighted_majority",
    )
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

    @field_serializer("data")
    def _plain_data(self, data: Path | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        return str(data) if isinstance(data, Path) else data  # YAML knows no Path

    @model_validator(mode="before")
    @classmethod
    def _default_operator(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("space") == "logits" and "operator" not in given:
            return {**given, "operator": "soft"}
        return given

    @model_validator(mode="after")
    def _fields_of_the_space(self) -> "Recipe":
        if self.space == "latents" and self.layers is None:
            raise ValueError("layers is missing: space 'latents' needs the blocks to merge, from 0")
        latents_only = {"layers": None, "positions": "all", "donor_stream": "pure"}
        given = [key for key, unset in latents_only.items() if getattr(self, key) != unset]
        if self.space != "latents" and given:
            raise ValueError(
                f"{', '.join(given)}: only space 'latents' takes this, not {self.space!r}; leave it out"
            )
        if self.space != "weights" and self.data is not None:
            raise ValueError(
                f"data: only space 'weights' takes this, not {self.space!r}; leave it out"
            )
        if self.space != "latents" and isinstance(self.donor_weights, dict):
            raise ValueError(
                f"donor_weights={self.donor_weights}: parts by block are for space 'latents'; give "
                f"space {self.space!r} a list, one for each donor"
            )
        return self

    @model_validator(mode="after")
    def _fields_of_an_ensemble(self) -> "Recipe":
        if self.space != "logits":
            return self
        if self.base is not None:
            raise ValueError("base: space 'logits' needs no ancestor; leave it out")
        if self.donor_weights is not None and self.alpha is None:
            raise ValueError(
                f"donor_weights={list(self.donor_weights)} are parts of alpha, which is missing; give "
                "space 'logits' the donors' total weight as alpha"
            )
        return self

    @model_validator(mode="after")
    def _one_alpha(self) -> "Recipe":
        if isinstance(self.layers, dict) and self.alpha is not None:
            raise ValueError(
                f"alpha={self.alpha} and layers={self.layers} both give the donors' weight; "
                "give a list of layers with alpha, or layers with an alpha each"
            )
        return self

    @classmethod
    def load(cls, source: "str | Path | dict[str, Any] | Recipe") -> "Recipe":
        """A recipe from a YAML file, a dict, or itself; reads data only, never code.

        Raises ValueError that names the file for a file that is no YAML or holds no mapping.
        """
        if isinstance(source, Recipe):
            return source
        if isinstance(source, dict):
            return cls.model_validate(source)
        try:
            content = yaml.safe_load(Path(source).read_text())
        except yaml.YAMLError as error:
            raise ValueError(
                f"recipe {source} is no plain YAML: {' '.join(str(error).split())}"
            ) from error
        if not isinstance(content, dict):
            raise ValueError(
                f"recipe {source} holds {type(content).__name__}, not a mapping of keys"
            )
        return cls.model_validate(content)

    def save(self, path: str | Path) -> Path:
        """Write as YAML; `Recipe.load` gives the same recipe back."""
        path = Path(path)
        path.write_text(yaml.safe_dump(self.model_dump(), sort_keys=False))
        return path
