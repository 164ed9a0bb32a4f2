"""Options of `analyses.encoder_check`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, computed_field


class EncoderCheckConfig(BaseModel):
    """Encoders, and pairs of sentences with scores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="encoder or classifier: folder or hub name")
    compare_with: tuple[str, ...] = Field(default=(), description="further models")
    pairs: Path = Field(
        description="sentence, sentence, score a line; by tabs, or by commas in a .csv"
    )
    max_length: PositiveInt | None = Field(
        default=None, description="tokens after which sentences are cut; None: longer are refused"
    )
    device: str | None = Field(default=None, description="torch device; None: the CPU")

    @property
    def words(self) -> str:
        """What is measured, in one line."""
        return f"{', '.join(self.models)} on {self.pairs.name}"

    @property
    def models(self) -> tuple[str, ...]:
        """All models, each once."""
        return tuple(dict.fromkeys((self.model, *self.compare_with)))

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of what is read."""
        from lm_merge.runs.identity import fingerprint, hub_commit

        found = {one: fingerprint(Path(one)) or hub_commit(one) for one in self.models}
        return found | {str(self.pairs): fingerprint(self.pairs)}
