"""Configuration of the decomposition analysis; importing it needs no torch."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, computed_field, model_validator

from lm_merge.decomposition.registry import EXPERIMENTS, Preset, experiment


class DecompositionConfig(BaseModel):
    """What is decomposed, how, and from which random starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str = Field(default="tms_5-2", description=f"one of {', '.join(EXPERIMENTS)}")
    preset: Preset = Field(
        default="delta", description="delta: with the remainder as a component; paper: as published"
    )
    seeds: tuple[NonNegativeInt, ...] = Field(
        default=(0,), min_length=1, description="random starts, trained side by side"
    )
    fit: dict[str, Any] = Field(
        default={}, description="settings of the decomposition that differ from the preset's"
    )
    target: dict[str, Any] = Field(
        default={}, description="settings of the target that differ from the experiment's"
    )
    metrics: tuple[str, ...] = Field(
        default=("reconstruction", "sparsity", "ground_truth"),
        description="what is measured every fit.eval_every steps and at the end",
    )
    figures: tuple[str, ...] | None = Field(
        default=None, description="figures to draw, by name; None: all that the target has"
    )
    device: str | None = Field(default=None, description="torch device; None: the CPU")

    @model_validator(mode="after")
    def _known(self) -> "DecompositionConfig":
        if self.experiment not in EXPERIMENTS:
            raise ValueError(
                f"experiment={self.experiment!r} is unknown; choose from {', '.join(EXPERIMENTS)}"
            )
        return self

    @computed_field
    @property
    def resolved(self) -> dict[str, Any]:
        """All settings of target and decomposition, so that changed presets make another run."""
        made = experiment(self.experiment, self.preset, self.fit, self.target)
        return made.model_dump(mode="json")

    @property
    def words(self) -> str:
        """What is decomposed, in one line."""
        n = len(self.seeds)
        return f"{self.experiment}, preset {self.preset}, {n} seed{'s' * (n > 1)}"
