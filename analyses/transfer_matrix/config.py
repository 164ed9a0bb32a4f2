"""Options of `analyses.transfer_matrix`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from analyses.running.massive_options import MassiveOptions


class TransferMatrixConfig(MassiveOptions):
    """Classifiers by locale, and the targets on which each is measured."""

    targets: tuple[str, ...] | None = Field(
        default=None, description="locales to classify; None: those of the sources"
    )

    @property
    def words(self) -> str:
        """What is measured, in one line."""
        models = self.models
        n_targets = len(self.targets or models)
        return f"{len(models)} classifiers on {n_targets} locales each, dev and test"


class SourceConfig(BaseModel):
    """One classifier on all targets: a cell of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    model: str
    model_digest: str | None
    data: Path
    data_digests: tuple[str | None, ...]
    targets: tuple[str, ...]
    n_examples: int | None
    max_length: int | None
    device: str | None
    dtype: str | None
