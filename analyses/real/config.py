"""Options of `make real`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

NAMES = ("skill_transfer", "similarity", "layerwise", "curvature", "adapters")


class RealConfig(BaseModel):
    """The model, its adapters, the data, and how much of everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        default="HuggingFaceTB/SmolLM2-135M-Instruct", description="folder or hub name of the base"
    )
    adapters: Path = Field(
        description="folder of the adapters math, intent-en, intent-fr and intent-de, which "
        "analyses/real/train_adapters.py trains"
    )
    data: Path = Field(
        description="folder with mawps/mawps_slots.json, massive/massive11_utt.parquet and "
        "massive/massive11_labels.csv"
    )
    experiments: tuple[str, ...] = Field(default=NAMES, description=f"which of {', '.join(NAMES)}")
    merges: tuple[str, ...] = Field(
        default=("latents:slerp", "adapters:linear", "logits:soft"),
        description="space:operator of the merges whose skill is measured; latents:lerp is another; "
        "weights:lerp is adapters:linear here",
    )
    layers: tuple[int, ...] = Field(
        default=(29, 27, 25, 20),
        description="blocks at which merges in latents are measured for skill",
    )
    alphas: tuple[float, ...] = Field(
        default=(0.5, 0.7), description="weights of the donor whose skill is measured"
    )
    stream_layers: tuple[int, ...] = Field(
        default=(15, 20, 25, 27, 29), description="blocks of layerwise and curvature"
    )
    n_questions: PositiveInt = Field(
        default=300, description="problems of skill_transfer, 300 at most"
    )
    n_requests: PositiveInt = Field(default=100, description="requests a language of adapters")
    n_prompts: PositiveInt = Field(default=16, description="chat prompts, 24 at most")
    batch_size: PositiveInt = Field(default=25, description="questions at a time")
    stop_ids: tuple[int, ...] = Field(
        default=(1, 2), description="ids that end an answer: of these adapters, of the base"
    )
    device: str | None = Field(default=None, description="torch device; None: the CPU")
    dtype: str | None = Field(default="float32", description="torch dtype; None: the checkpoint's")

    @field_validator("experiments")
    @classmethod
    def _known(cls, experiments: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in experiments if name not in NAMES]
        if unknown:
            raise ValueError(f"experiments={unknown} are unknown; choose from {', '.join(NAMES)}")
        return experiments
