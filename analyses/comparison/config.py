"""What a comparison compares, on which questions, and who judges."""

from pathlib import Path
from typing import Literal, TypeGuard

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveInt,
    computed_field,
    model_validator,
)

from analyses.comparison.systems import System, default_systems, sources_of
from analyses.judge_config import JudgeConfig
from analyses.running.inputs import fingerprints_of
from lm_merge.recipes import ModelSource, Recipe, Source, Tolerance, as_source

Operator = Literal["lerp", "slerp", "regmean", "task_vector"]


class ComparisonConfig(BaseModel):
    """Which systems answer which questions, and who says what is better."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Source = Field(default="tiny-instruct", description="carries the forward pass")
    donors: tuple[Source, ...] = Field(
        default=("tiny-thinker",), min_length=1, description="are merged into it"
    )
    base: Source | None = Field(
        default=None, description="common ancestor, for the operator task_vector"
    )
    layers: tuple[int, ...] = Field(
        default=(3,), min_length=1, description="latent merges: blocks whose resid_post is merged"
    )
    alpha: float = Field(default=0.5, description="donors' weight in every merge, 0 to 1")
    donor_weights: tuple[float, ...] | None = Field(
        default=None, description="the donors' parts of alpha, equal if None"
    )
    positions: Literal["all", "last"] = Field(
        default="all", description="of the latent merges, as in a recipe"
    )
    donor_stream: Literal["pure", "coupled"] = Field(
        default="pure", description="of the latent merges, as in a recipe"
    )
    operators: tuple[Operator, ...] = Field(
        default=("lerp", "slerp", "regmean"),
        min_length=1,
        description="of the latent merges; each is set against its counterpart on weights",
    )
    accept: tuple[Tolerance, ...] = Field(
        default=(), description="differences between the models that are accepted"
    )
    systems: dict[str, str | ModelSource | Recipe] = Field(
        default={},
        description="name -> model, recipe file or recipe, in place of the default systems",
    )
    pairs: tuple[tuple[str, str], ...] = Field(
        default=(),
        description="systems to set against each other; none: each latent merge and its counterpart",
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
    device: str | None = Field(default=None, description="torch device; None: the CPU")
    dtype: str | None = Field(default=None, description="torch dtype; None: the checkpoint's")

    @model_validator(mode="after")
    def _fits_together(self) -> "ComparisonConfig":
        if self.split is not None and self.questions is None:
            raise ValueError(
                f"split={self.split!r} chooses among JudgeBench's pairs; give questions, too"
            )
        if not self.systems and ("task_vector" in self.operators) != (self.base is not None):
            raise ValueError(
                f"base={self.base!r} and operators={list(self.operators)}: base, the common ancestor, "
                "is for task_vector, which needs it; give both or neither"
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
            return default_systems(
                self.host,
                self.donors,
                layers=self.layers,
                alpha=self.alpha,
                operators=self.operators,
                base=self.base,
                donor_weights=self.donor_weights,
                positions=self.positions,
                donor_stream=self.donor_stream,
                accept=self.accept,
            )
        return {name: _system(source) for name, source in self.systems.items()}

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of the files that go in, so that a run is found again only for the same."""
        files = [Path(one) for one in self.systems.values() if _is_recipe_file(one)]
        files += [] if self.questions is None else [Path(self.questions)]
        return fingerprints_of(sources_of(self.named_systems()), *files)


def _is_recipe_file(source: object) -> TypeGuard[str]:
    return isinstance(source, str) and Path(source).suffix in (".yaml", ".yml")


def _system(source: str | ModelSource | Recipe) -> System:
    if isinstance(source, Recipe):
        return source
    return Recipe.load(source) if _is_recipe_file(source) else as_source(source)
