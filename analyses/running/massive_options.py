"""Options of analyses that classify MASSIVE: where the data and the models are, and how much is read."""

from pathlib import Path

from pydantic import Field, PositiveInt, computed_field

from analyses.running.measured import Placement

UTTERANCES, LABELS = "massive11_utt.parquet", "massive11_labels.csv"


class MassiveOptions(Placement):
    """The data set, classifiers by locale, and how texts are read."""

    data: Path = Field(description=f"folder with {UTTERANCES} and {LABELS}")
    sources: str | dict[str, str] = Field(
        description="classifiers: locale -> folder or hub name, a YAML or CSV file of it, or a pattern "
        "with {locale}"
    )
    allow_missing: bool = Field(default=False, description="leave out sources that are not there")
    n_examples: PositiveInt | None = Field(
        default=None,
        description="so many texts of each partition, drawn with a fixed seed; None: all",
    )
    max_length: PositiveInt | None = Field(
        default=None, description="tokens after which texts are cut; None: longer ones are refused"
    )

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of what is read, so that a run is found again only for the same."""
        from lm_merge.runs.identity import fingerprint

        files = [self.data / UTTERANCES, self.data / LABELS, *self.read_files]
        found = {str(path): fingerprint(path) for path in files}
        return found | {model: self._of_model(model) for model in self.models.values()}

    @property
    def read_files(self) -> tuple[Path, ...]:
        """Further files that are read."""
        return ()

    @property
    def models(self) -> dict[str, str]:
        """Locale -> model, of those that are there."""
        from lm_merge.coefficients.typology import ISO_639_3
        from lm_merge.recipes.locale_sources import locale_sources

        found, _ = locale_sources(self.sources, tuple(ISO_639_3), allow_missing=self.allow_missing)
        return found

    @staticmethod
    def _of_model(model: str) -> str | None:
        from lm_merge.runs.identity import fingerprint, hub_commit

        return fingerprint(Path(model)) or hub_commit(model)
