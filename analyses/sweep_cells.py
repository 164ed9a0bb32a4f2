"""The cells of a sweep, from its configuration; importing it needs no torch."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator

from analyses import ANALYSES
from analyses.running.command import config_class_of
from analyses.running.recipe_options import changed
from lm_merge.runs import config_with, grid_labels
from lm_merge.runs.identity import config_hash

OPTION = "recipe."


class Part(BaseModel):
    """Some of a sweep's cells: settings and values on top of the sweep's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: dict[str, Any] = Field(default={}, description="settings of these cells")
    grid: dict[str, list[Any]] = Field(default={}, description="setting -> values of these cells")


class SweepConfig(BaseModel):
    """An analysis, what its cells share, and the values that tell them apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    analysis: str = Field(description=f"one of {', '.join(ANALYSES)}")
    recipe: Path | None = Field(
        default=None, description="YAML file of the recipe that all cells start from"
    )
    base: dict[str, Any] = Field(default={}, description="settings for all cells")
    grid: dict[str, list[Any]] = Field(
        default={}, description="setting -> values; `recipe.operator` names a field of the recipe"
    )
    parts: tuple[Part, ...] = Field(
        default=(), description="several {base, grid}, each on top of the sweep's; none: one grid"
    )

    @model_validator(mode="after")
    def _something(self) -> "SweepConfig":
        if not self.parts and "grid" not in self.model_fields_set:
            raise ValueError("a sweep needs a grid, parts, or both; neither is given")
        return self

    @computed_field
    @property
    def cells(self) -> tuple[str, ...]:
        """Hash of every cell's configuration, so that changed inputs make another sweep."""
        return tuple(config_hash(config) for config in configs_of(self))


def configs_of(config: SweepConfig) -> list[BaseModel]:
    """The configuration of every cell, in the order of the grid."""
    if config.analysis not in ANALYSES:
        raise ValueError(
            f"analysis={config.analysis!r} is unknown; choose from {', '.join(ANALYSES)}, or give "
            "ANALYSES in analyses/__init__.py an entry for a package with modules config and analysis"
        )
    config_class = config_class_of(config.analysis)
    shared = (
        dict(config.base) if config.recipe is None else {**config.base, "recipe": config.recipe}
    )
    return [
        _config(config_class, {**shared, **part.base}, label)
        for part in _parts(config)
        for label in _labels(config, part)
    ]


def labels_of(config: SweepConfig) -> list[dict[str, Any]]:
    """The values of each cell in the same order: a part's settings, then the grid's."""
    return [{**part.base, **label} for part in _parts(config) for label in _labels(config, part)]


def _parts(config: SweepConfig) -> tuple[Part, ...]:
    return config.parts or (Part(),)


def _labels(config: SweepConfig, part: Part) -> list[dict[str, Any]]:
    """A part's values; what its base sets is not taken from the sweep's grid."""
    shared = {key: values for key, values in config.grid.items() if key not in part.base}
    return grid_labels({**shared, **part.grid})


def _config(
    config_class: type[BaseModel], base: dict[str, Any], label: dict[str, Any]
) -> BaseModel:
    """A cell: what all share, and its values, of which `recipe.KEY` changes a field of the recipe."""
    values = {key: one for key, one in label.items() if not key.startswith(OPTION)}
    changes = {key.removeprefix(OPTION): label[key] for key in label if key not in values}
    if changes:
        default = config_class.model_fields["recipe"].default
        values["recipe"] = changed(base.get("recipe", default), changes)
    return config_with(config_class, base, values)
