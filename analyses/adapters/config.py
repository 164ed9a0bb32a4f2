"""Options of `analyses.adapters`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from analyses.running.measured import MeasuredRecipe
from lm_merge.recipes import Recipe, as_source
from lm_merge.zoo.adapter_names import ADAPTER_BASE, BUNDLED_ADAPTERS

BUNDLED_MERGE = Recipe(space="adapters", host=ADAPTER_BASE, donors=tuple(BUNDLED_ADAPTERS))


class SubsetOptions(BaseModel):
    """Which examples of a split are used; they are drawn once and kept next to the runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_max: PositiveInt | None = Field(default=100, description="examples a task; None: all")
    per_task: dict[str, PositiveInt] = Field(default={}, description="task -> examples")
    seed: int = Field(default=0, ge=0, description="of the draw")
    shuffle: bool = Field(default=True, description="draw at random; false: the first ones")
    stratified: bool = Field(default=False, description="keep the share of every label")


class TaskOptions(MeasuredRecipe):
    """A merge of adapters, and the tasks that it is evaluated on."""

    recipe: Recipe = Field(
        default=BUNDLED_MERGE,
        description="the merge of adapters: a YAML file, or its fields; None: the bundled adapters",
    )
    tasks: tuple[str, ...] = Field(
        default=(), description="bundled skills; none: those that adapters are named after"
    )
    questions: Path | None = Field(
        default=None,
        description="JSONL of own questions (prompt, answer, category, check, split); every category is "
        "a task",
    )
    metrics: dict[str, Literal["accuracy", "macro_f1", "word_error_rate"]] = Field(
        default={}, description="task of the questions -> metric; accuracy unless given"
    )
    experts: dict[str, str] = Field(
        default={},
        description="task -> its expert among the adapters; the one of its name unless given",
    )
    subset: SubsetOptions = SubsetOptions()
    max_new_tokens: PositiveInt = Field(default=40, description="tokens of a reply at most")
    batch_size: PositiveInt = Field(default=50, description="prompts at a time")
    stop_ids: tuple[NonNegativeInt, ...] = Field(
        default=(), description="ids that end a reply besides the base's own"
    )

    @model_validator(mode="after")
    def _of_adapters(self) -> "TaskOptions":
        if self.recipe.space != "adapters":
            raise ValueError(
                f"recipe.space={self.recipe.space!r} merges no adapters; give a recipe of space "
                "'adapters'"
            )
        if self.metrics and self.questions is None:
            raise ValueError("metrics are of the tasks in questions; give questions, too")
        unknown = sorted(set(self.experts.values()) - set(self.donor_names))
        if unknown:
            raise ValueError(
                f"experts {unknown} are not among the adapters; choose from "
                f"{', '.join(self.donor_names)}"
            )
        return self

    @property
    def donor_names(self) -> tuple[str, ...]:
        """The adapters' names, without folder and suffix, in the order of the recipe."""
        return tuple(_short(as_source(one).model) for one in self.recipe.donors)

    @property
    def files(self) -> Sequence[Path | None]:
        return (self.questions,)


class AdaptersConfig(TaskOptions):
    """One merge of adapters, evaluated."""

    saved: Path | None = Field(
        default=None,
        description="folder of a merge that was written (lm-merge adapters), measured in the recipe's "
        "place; the recipe names the base and the experts",
    )
    split: Literal["dev", "test"] = Field(
        default="test", description="of the tasks; choices are made on dev"
    )
    sensitivity: bool = Field(
        default=True, description="measure which block and which adapter carry recovery, on dev"
    )
    seeds: tuple[int, ...] = Field(
        default=(0, 1, 2), description="of a random method, whose spread is measured"
    )

    @property
    def files(self) -> Sequence[Path | None]:
        return (self.questions, self.saved)

    @property
    def words(self) -> str:
        what = super().words if self.saved is None else f"{self.saved}, against {super().words}"
        tasks = ", ".join(self.tasks) or "the adapters' tasks"
        return f"{what}: {tasks if self.questions is None else self.questions}, {self.split}"


def _short(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix in (".yaml", ".yml") else path.name
