"""What a comparison compares, on which questions, and who judges."""

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveInt,
    computed_field,
    field_validator,
    model_validator,
)

from analyses.comparison.systems import (
    System,
    default_systems,
    is_recipe_file,
    named_systems,
    read_mappings,
    sources_of,
)
from analyses.judge.config import JudgeConfig
from analyses.running.measured import BUNDLED_PAIR, MeasuredRecipe
from lm_merge.recipes import ModelSource, Recipe

Operator = Literal["lerp", "slerp", "regmean", "task_vector"]


class ComparisonConfig(MeasuredRecipe):
    """Which systems answer which questions, and who judges what is better."""

    operators: tuple[Operator, ...] = Field(
        default=("lerp", "slerp", "regmean"),
        min_length=1,
        description="of latent merges besides the recipe's own; each is compared with its counterpart "
        "on weights",
    )
    systems: dict[str, str | ModelSource | Recipe | dict[str, Any]] = Field(
        default={},
        description="name -> model, recipe file or recipe, in place of the default systems",
    )
    pairs: tuple[tuple[str, str], ...] = Field(
        default=(),
        description="systems to compare in pairs; none: each latent merge and its counterpart",
    )
    questions: str | None = Field(
        default=None,
        description="JSONL of own questions (prompt, answer, category, check), or JudgeBench file, "
        "folder or hub name; None: the bundled questions",
    )
    split: Literal["gpt", "claude"] | None = Field(
        default=None, description="JudgeBench: only the pairs that this model's responses are from"
    )
    n_per_category: PositiveInt = Field(
        default=200, description="questions a category and seed, at most"
    )
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1, description="see above")
    temperature: NonNegativeFloat = Field(default=0.0, description="0: greedy; above: sampling")
    max_new_tokens: PositiveInt = Field(
        default=40, description="tokens of an answer at most; the longest bundled one takes 31"
    )
    batch_size: PositiveInt = Field(default=100, description="prompts at a time")
    judge: JudgeConfig | None = Field(
        default=None,
        description="who judges pairs of answers, and on which labelled pairs its own accuracy is "
        "measured; None: the answer key",
    )
    run_code: bool = Field(
        default=False,
        description="run models' programs against the public examples of a question, isolated by "
        "bubblewrap, which must be installed (Linux: apt-get install bubblewrap)",
    )

    @field_validator("systems", mode="before")
    @classmethod
    def _read_mappings(cls, systems: object) -> object:
        """Mappings as the model sources or recipes that they are; the command line leaves them alone."""
        return read_mappings(systems)

    @model_validator(mode="after")
    def _fits_together(self) -> "ComparisonConfig":
        if self.split is not None and self.questions is None:
            raise ValueError(
                f"split={self.split!r} chooses among JudgeBench's pairs; give questions, too"
            )
        if self.systems and self.recipe != BUNDLED_PAIR:
            raise ValueError(
                f"recipe and systems={sorted(self.systems)} both name what is compared; give one"
            )
        known = set(self.named_systems())
        unknown = sorted({name for pair in self.pairs for name in pair} - known)
        if unknown:
            raise ValueError(f"pairs name unknown systems {unknown}; choose from {sorted(known)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={self.seeds} holds a seed twice")
        return self

    def named_systems(self) -> dict[str, System]:
        """Every system by its name, parents first."""
        if not self.systems:
            return default_systems(self.recipe, self.operators)
        return named_systems(self.systems)

    @property
    def words(self) -> str:
        which = super().words if not self.systems else "the systems given"
        return f"{which}: {', '.join(self.named_systems())}"

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of the files that are read, so that a run is found again only for the same."""
        from analyses.running.inputs import fingerprints_of  # needs torch, which the options do not

        files = [Path(one) for one in self.systems.values() if is_recipe_file(one)]
        files += [] if self.questions is None else [Path(self.questions)]
        return fingerprints_of(sources_of(self.named_systems()), *files)
