"""Options of `analyses.component_merge`; importing them needs no torch."""

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from analyses.decomposition.config import DecompositionConfig
from lm_merge.decomposition.registry import TARGETS, experiment
from lm_merge.decomposition.targets.settings import LanguageSettings, TMSSettings, UpdateSettings

UPDATES: dict[str, tuple[str | tuple[int, ...], ...]] = {
    "update_tms": ((4, 5), (6, 7)),
    "update_trio": ("tiny-thinker", "tiny-coder"),
}
METHODS = ("components", "components_rounded", "task_arithmetic", "ties", "dare_linear", "linear")


class ComponentMergeConfig(BaseModel):
    """Which updates are decomposed and merged, and how the merges are scored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: Literal["update_tms", "update_trio"] = Field(
        default="update_trio", description="update_trio: bundled models; update_tms: a toy model"
    )
    updates: tuple[str | tuple[NonNegativeInt, ...], ...] = Field(
        default=(),
        description="tuned models, or lists of features for the toy; none: the experiment's own",
    )
    seeds: tuple[NonNegativeInt, ...] = Field(
        default=(0,), min_length=1, description="of the decompositions and of DARE's masks"
    )
    fit: dict[str, Any] = Field(
        default={}, description="settings of the decompositions that differ from the experiment's"
    )
    base: dict[str, Any] = Field(
        default={}, description="settings of the base that differ from the experiment's"
    )
    methods: tuple[str, ...] = Field(default=METHODS, min_length=1, description="merges to compare")
    scales: tuple[PositiveFloat, ...] = Field(
        default=(0.2, 0.4, 0.6, 0.8, 1.0),
        min_length=1,
        description="factors of the summed updates to choose from on dev",
    )
    density: float = Field(
        default=0.5, gt=0, le=1, description="share of an update that TIES and DARE keep"
    )
    n_dev: PositiveInt = Field(default=8, description="dev questions a skill at most")
    n_test: PositiveInt = Field(default=32, description="test questions a skill at most")
    n_texts: PositiveInt = Field(
        default=64, description="texts (or 16 times as many examples) that importance is taken on"
    )

    @model_validator(mode="after")
    def _known(self) -> "ComponentMergeConfig":
        unknown = sorted(set(self.methods) - set(METHODS))
        if unknown:
            raise ValueError(f"methods: {unknown} are unknown; choose from {', '.join(METHODS)}")
        if len(self.tuned) < 2:
            raise ValueError(f"updates={self.tuned}: a merge needs at least two")
        wrong = [one for one in self.tuned if isinstance(one, str) == self.is_toy]
        if wrong:
            wanted = "lists of features" if self.is_toy else "names of models"
            raise ValueError(f"updates: {wrong} do not fit {self.experiment}; give {wanted}")
        return self

    @property
    def is_toy(self) -> bool:
        """Whether the updates are of a toy model."""
        return self.experiment == "update_tms"

    @property
    def tuned(self) -> tuple[str | tuple[int, ...], ...]:
        """The updates."""
        return self.updates or UPDATES[self.experiment]

    def decompositions(self, seed: int) -> list[DecompositionConfig]:
        """The decomposition of each update from one random start."""
        changed = {"base": {**TARGETS[self.experiment]["base"], **self.base}} if self.base else {}
        return [
            DecompositionConfig(
                experiment=self.experiment,
                seeds=(seed,),
                fit=self.fit,
                target={**changed, "tuned": tuned},
            )
            for tuned in self.tuned
        ]

    def base_settings(self) -> TMSSettings | LanguageSettings:
        """The model before fine-tuning."""
        first = self.decompositions(self.seeds[0])[0]
        target = experiment(first.experiment, first.preset, first.fit, first.target).target
        assert isinstance(target, UpdateSettings)
        return target.base

    @property
    def words(self) -> str:
        """What is measured, in one line."""
        names = " and ".join(map(str, self.tuned))
        return f"merges of {names}, scale chosen on dev, n = {self.n_test} test questions a skill"
