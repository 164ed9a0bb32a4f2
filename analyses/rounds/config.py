"""Options of `analyses.rounds`."""

from pathlib import Path

from pydantic import Field, PositiveInt, computed_field, model_validator

from analyses.running.massive_options import LABELS, UTTERANCES
from analyses.running.statistics_texts import StatisticsOptions
from lm_merge.coefficients.selection import Selection, select, select_by_hand
from lm_merge.coefficients.similarity_matrix import read_similarity
from lm_merge.recipes.selection_options import SelectionOptions
from lm_merge.training.rounds_settings import RoundsSettings


class RoundsConfig(RoundsSettings, StatisticsOptions, SelectionOptions):
    """A target, its sources, the base they start from, and how rounds go."""

    target: str = Field(description="locale that the merge is for")
    data: Path = Field(description=f"folder with {UTTERANCES} and {LABELS}")
    base: str = Field(
        default="xlm-roberta-base", description="model to start from: folder or hub name"
    )
    similarity: Path | None = Field(default=None, description="CSV file of similarities")
    n_sources: PositiveInt = Field(default=5, description="most similar locales that are trained")
    locales: tuple[str, ...] | None = Field(
        default=None, description="these in place of the most similar ones, with equal weights"
    )
    n_examples: PositiveInt | None = Field(
        default=None,
        description="so many texts of each partition, drawn with a fixed seed; None: all",
    )
    effect_after: PositiveInt = Field(
        default=1, description="epochs after a merge at which its effect on dev is read"
    )
    states: Path = Field(
        default=Path("runs/.rounds"), description="folder of the states of training"
    )
    mirror: Path | None = Field(
        default=None, description="folder for a second copy of the last states"
    )

    @model_validator(mode="after")
    def _has_sources(self) -> "RoundsConfig":
        if (self.similarity is None) == (self.locales is None):
            raise ValueError("give similarity or locales, and not both: they choose the sources")
        fields = type(self).model_fields
        chooses = ("n_sources", *SelectionOptions.model_fields)
        given = [name for name in chooses if getattr(self, name) != fields[name].default]
        if self.locales is not None and given:
            raise ValueError(
                f"{given[0]}={getattr(self, given[0])!r} chooses sources by similarity, and locales "
                "name them; leave one of the two out"
            )
        return self

    @property
    def words(self) -> str:
        """What is trained, in one line."""
        return (
            f"{self.target}, {self.max_epochs} epochs, merged by {self.method} every "
            f"{self.merge_every}, {self.give_back:g} of it given back"
        )

    def selection(self) -> Selection:
        """The sources that are trained, with their weights."""
        if self.locales is not None:
            return select_by_hand(self.target, dict.fromkeys(self.locales, 1.0))
        assert self.similarity is not None  # checked above
        matrix = read_similarity(self.similarity)
        return select(matrix, self.target, matrix.names, self.rule_for(self.n_sources))

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of what is read."""
        from lm_merge.runs.identity import fingerprint, hub_commit

        base = fingerprint(Path(self.base)) or hub_commit(self.base)
        files = [self.data / UTTERANCES, self.data / LABELS]
        files += [] if self.similarity is None else [self.similarity]
        return {self.base: base, **{path.name: fingerprint(path) for path in files}}
