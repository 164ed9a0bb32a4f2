"""Options of `analyses.languages`, and what its cells receive."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, computed_field, model_validator

from analyses.running.massive_options import LABELS, UTTERANCES
from lm_merge.zoo.ngram_settings import PretrainingSettings, TuningSettings

LOCALES = tuple(
    "af-ZA ar-SA cy-GB de-DE en-US es-ES fi-FI fr-FR hi-IN id-ID it-IT ja-JP ko-KR nl-NL pl-PL ru-RU "
    "sq-AL sw-KE th-TH tr-TR vi-VN zh-CN".split()
)
SIMILARITY = "uriel_syntax_knn_cos_52.csv"


class LanguagesConfig(BaseModel):
    """Data, locales, how models are trained, and how many sources a target gets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Field(
        description=f"folder with {UTTERANCES}, {LABELS} and {SIMILARITY}, or with folders of them"
    )
    locales: tuple[str, ...] = Field(
        default=LOCALES, min_length=3, description="sources, each of which is a target in turn"
    )
    n_parallel: PositiveInt = Field(
        default=6_000, description="so many training utterances, drawn by id, pretrain the encoder"
    )
    n_tuning: PositiveInt | None = Field(
        default=None, description="so many of the others fine-tune each classifier; None: all"
    )
    n_examples: PositiveInt | None = Field(
        default=None, description="so many dev and test texts, drawn by id; None: all"
    )
    n_sources: PositiveInt = Field(default=5, description="sources a target")
    sinkhorn_top_k: PositiveInt = Field(default=10, description="entries of a row for Sinkhorn")
    n_draws: PositiveInt = Field(default=3, description="random choices of sources")
    pretraining: PretrainingSettings = Field(
        default=PretrainingSettings(), description="of the encoder"
    )
    tuning: TuningSettings = Field(
        default=TuningSettings(epochs=4, vector_rate=1e-2), description="of each classifier"
    )

    @model_validator(mode="after")
    def _enough(self) -> "LanguagesConfig":
        if self.n_sources + 1 >= len(self.locales):
            raise ValueError(
                f"n_sources={self.n_sources} of {len(self.locales)} locales: give more locales, so that "
                "there is a choice"
            )
        return self

    @property
    def words(self) -> str:
        """What is measured, in one line."""
        return f"{len(self.locales)} locales, {self.n_sources} sources a target"

    def file(self, name: str) -> Path:
        """A file of the data, in the folder or in one inside of it; OSError where it is not."""
        found = [self.data / name, *sorted(self.data.glob(f"*/{name}"))]
        there = [path for path in found if path.is_file()]
        if not there:
            raise OSError(
                f"data={str(self.data)!r}: there is no {name} in it or in a folder inside"
            )
        return there[0]

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of what is read."""
        from lm_merge.runs.identity import fingerprint

        return {name: fingerprint(self.file(name)) for name in (UTTERANCES, LABELS, SIMILARITY)}


class EncoderCell(BaseModel, frozen=True, extra="forbid"):
    """The encoder that all classifiers start from."""

    data: Path
    digests: dict[str, str | None]
    locales: tuple[str, ...]
    n_parallel: int
    settings: PretrainingSettings


class ClassifierCell(BaseModel, frozen=True, extra="forbid"):
    """One fine-tuned classifier."""

    data: Path
    digests: dict[str, str | None]
    locale: str
    encoder: Path
    encoder_digest: str | None
    n_parallel: int
    n_tuning: int | None
    settings: TuningSettings


class TargetCell(BaseModel, frozen=True, extra="forbid"):
    """Every merge and vote for one target."""

    data: Path
    digests: dict[str, str | None]
    target: str
    models: dict[str, str]
    model_digests: dict[str, str | None]
    similarity: Path
    transfer: Path
    transfer_digest: str | None
    n_examples: int | None
    n_sources: int
    sinkhorn_top_k: int
    n_draws: int
