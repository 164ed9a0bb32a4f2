"""Options of `analyses.finetune`."""

from pathlib import Path

from pydantic import Field, PositiveInt, computed_field

from analyses.running.massive_options import LABELS, UTTERANCES
from lm_merge.training.settings import FinetuneSettings


class FinetuneConfig(FinetuneSettings):
    """A base, a locale, and how it is trained."""

    locale: str = Field(description="of MASSIVE, for example sw-KE")
    data: Path = Field(description=f"folder with {UTTERANCES} and {LABELS}")
    base: str = Field(
        default="xlm-roberta-base", description="model to start from: folder or hub name"
    )
    out: Path = Field(default=Path("models"), description="folder of the classifiers")
    n_examples: PositiveInt | None = Field(
        default=None,
        description="so many texts of each partition, drawn with a fixed seed; None: all",
    )
    device: str | None = Field(default=None, description="cpu (also None), or cuda")

    @property
    def folder(self) -> Path:
        """Where the classifier goes."""
        return self.out / f"{Path(self.base).name}_massive_k_{self.locale}"

    @property
    def words(self) -> str:
        """What is trained, in one line."""
        return f"{self.base} on {self.locale}, into {self.folder}"

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of what is read."""
        from lm_merge.runs.identity import fingerprint, hub_commit

        base = fingerprint(Path(self.base)) or hub_commit(self.base)
        files = {name: fingerprint(self.data / name) for name in (UTTERANCES, LABELS)}
        return {self.base: base, **files}
