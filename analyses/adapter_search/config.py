"""Options of `analyses.adapter_search`."""

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    computed_field,
    model_validator,
)

from analyses.adapter_search.parameters import check_parameters, varied_recipe
from analyses.adapter_search.reference import PARAMETER, fields_of, recipe_with
from analyses.adapters.config import AdaptersConfig, TaskOptions
from lm_merge.recipes import Recipe
from lm_merge.tuning.search.space import Parameter


class SearchSettings(BaseModel):
    """How trials are proposed, and how merges are ranked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["composite", "gp", "random", "grid", "optuna"] = Field(
        default="composite",
        description="composite: a Gaussian process for each task's recovery; gp: one for the score",
    )
    budget: PositiveInt = Field(default=16, description="trials at most")
    n_start: NonNegativeInt = Field(
        default=6, description="evenly spread trials before the model decides; warm ones count"
    )
    score: Literal["worst", "mean", "geometric_mean", "hypervolume", "l2_shortfall"] = Field(
        default="worst", description="of a merge's recoveries; ties by their mean"
    )
    constraint_nonnegative: bool = Field(
        default=False, description="a merge that harms a task ranks below all that do not"
    )
    patience: PositiveInt | None = Field(
        default=None, description="end after so many trials without gain, at the best; None: never"
    )
    seed: NonNegativeInt = Field(default=0, description="of the proposals")


class AdapterSearchConfig(TaskOptions):
    """A space of merges of adapters, the tasks, and how it is searched."""

    reference: Path | None = Field(
        default=None,
        description="YAML file that names adapters, method and search: its merge, space and search "
        "count where these are not given",
    )
    space: dict[str, Parameter] = Field(
        default={},
        description="what is varied: name -> {low, high, log, integer} or a list of choices; none: "
        "every adapter's coefficient from 0 to 1.5",
    )
    search: SearchSettings = SearchSettings()
    split: Literal["dev", "test"] = Field(default="dev", description="on which merges are chosen")
    allow_test_selection: bool = Field(
        default=False, description="choose on test, too, which makes its result no measurement"
    )
    measure_best: bool = Field(default=True, description="measure the best merge on test")
    save_merged: bool = Field(default=False, description="write the best merge next to the tables")
    form: Literal["lora", "svd", "delta", "model"] = Field(
        default="lora", description="in which form it is written"
    )
    warm_start: tuple[str, ...] = Field(
        default=(),
        description="folders of earlier searches (globs, too) whose trials are known from the start",
    )
    warm_start_max: PositiveInt = Field(default=100, description="trials taken over at most")

    @model_validator(mode="before")
    @classmethod
    def _read_reference(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("reference") is None:
            return given
        found, own = fields_of(Path(given["reference"])), _given(given)
        if "search" in own:
            search = SearchSettings.model_validate(own.pop("search"))
            usual = SearchSettings().model_dump()
            changed = {key: one for key, one in search.model_dump().items() if one != usual[key]}
            found["search"] = {**found["search"], **changed}
        return {**found, **own}

    @model_validator(mode="after")
    def _chosen_on_dev(self) -> "AdapterSearchConfig":
        if self.split == "test" and not self.allow_test_selection:
            raise ValueError(
                "split='test': a merge that is chosen on test cannot be measured there; leave split out "
                "(dev), or give allow_test_selection true, which the record notes"
            )
        check_parameters(self.recipe, self.parameters, self.donor_names, self.reference)
        return self

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The space, the default one where none is given."""
        every = {f"coefficient.{name}": Parameter(low=0, high=1.5) for name in self.donor_names}
        return self.space or every

    @computed_field
    @property
    def comparable(self) -> dict[str, Any]:
        """What two searches must share for one to take over the other's trials."""
        varied = {name.split(".")[1] for name in self.parameters if name.startswith("recipe.")}
        recipe = self.recipe.model_dump(mode="json")
        fixed = {key: one for key, one in recipe.items() if key not in varied}
        fields = ("tasks", "questions", "metrics", "experts", "subset", "split", "inputs")
        fields += ("max_new_tokens", "stop_ids", "device", "dtype")
        own = {key: getattr(self, key) for key in fields}
        own["subset"] = self.subset.model_dump(mode="json")
        own["questions"] = None if self.questions is None else str(self.questions)
        names = sorted(self.parameters)
        constraint = self.search.constraint_nonnegative
        return {"recipe": fixed, "names": names, "constraint_nonnegative": constraint, **own}

    def trial(self, values: dict[str, Any]) -> AdaptersConfig:
        """The evaluation of one point of the space."""
        if self.reference is not None and any(one.startswith(PARAMETER) for one in values):
            return self.evaluation(recipe_with(self.reference, values), self.split)
        return self.evaluation(varied_recipe(self.recipe, values, self.donor_names), self.split)

    def evaluation(self, recipe: Recipe, split: Literal["dev", "test"]) -> AdaptersConfig:
        """The evaluation of a recipe on a split, with this search's tasks."""
        shared = {key: getattr(self, key) for key in TaskOptions.model_fields if key != "recipe"}
        return AdaptersConfig(recipe=recipe, split=split, sensitivity=False, seeds=(), **shared)

    @property
    def words(self) -> str:
        space = ", ".join(self.parameters)
        return (
            f"{super().words}; {self.search.type} over {space}, {self.search.budget} trials, "
            f"{self.search.score} recovery on {self.split}"
        )


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """What was set: the command line fills in every field with its default."""
    defaults = {
        key: one.get_default(call_default_factory=True)
        for key, one in AdapterSearchConfig.model_fields.items()
    }
    return {key: one for key, one in fields.items() if key not in defaults or one != defaults[key]}
