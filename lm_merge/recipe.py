"""A merge as data: sources, space, operator and weights, in YAML."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

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
    """A merge in the residual stream; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: Literal["latents"] = Field(default="latents", description="where the merge happens")
    host: Source = Field(description="carries the forward pass and decodes")
    donors: tuple[Source, ...] = Field(min_length=1, description="give the other streams")
    base: Source | None = Field(default=None, description="ancestor, where the operator needs one")
    operator: str = Field(default="slerp", description="name of the merge operator")
    layers: dict[int, float] | tuple[int, ...] = Field(
        description="blocks whose resid_post is merged, from 0: with an alpha each, or a list"
    )
    alpha: float | None = Field(
        default=None, description="donors' total weight for a list of layers, 0 host .. 1 donor"
    )
    donor_weights: tuple[float, ...] | dict[int, tuple[float, ...]] | None = Field(
        default=None, description="the donors' parts of alpha, or block -> parts; equal if None"
    )
    positions: Literal["all", "last"] = Field(
        default="all", description="every token, or every token from the last prompt token on"
    )
    donor_stream: Literal["pure", "coupled"] = Field(
        default="pure", description="whether donors go on from their own state or from the merged"
    )
    operator_args: dict[str, float] = Field(
        default_factory=dict, description="further arguments of the operator"
    )
    accept: tuple[Tolerance, ...] = Field(
        default=(), description="differences between the models that are accepted"
    )

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

        Raises ValueError that names the file for a file that holds no mapping.
        """
        if isinstance(source, Recipe):
            return source
        if isinstance(source, dict):
            return cls.model_validate(source)
        content = yaml.safe_load(Path(source).read_text())
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
