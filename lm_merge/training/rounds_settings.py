"""Settings of rounds; importing them needs no torch."""

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)


class RoundsSettings(BaseModel):
    """How models are trained, when they are merged, and how much of the merge each gets back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_epochs: PositiveInt = Field(default=15, description="epochs of every model")
    merge_every: PositiveInt = Field(default=3, description="epochs between merges")
    adaptive: bool = Field(
        default=False,
        description="intervals follow the curves; a score above .5 merges at once",
    )
    performance_merge_trigger: bool = Field(
        default=False, description="also merge where all models are on a plateau"
    )
    convergence_threshold: PositiveFloat = Field(
        default=1e-4,
        description="change of dev accuracy, or variance of losses, that counts as none",
    )
    method: str = Field(default="linear", description="a merge of weights, for example ties")
    method_args: dict[str, Any] = Field(default={}, description="parameters of the merge")
    give_back: float = Field(
        default=1.0, ge=0, le=1, description="part of the merge that each model takes; 0: none"
    )
    moments: Literal["reset", "keep", "average"] = Field(
        default="reset", description="the optimizer's moments after a merge"
    )
    warmup_steps: NonNegativeInt = Field(
        default=10, description="steps of a warm-up at the start and after a reset of the moments"
    )
    margin: NonNegativeFloat = Field(
        default=0.02,
        description="a merge counts as failed where its mean dev accuracy is lower than the worst "
        "parent's by more than this; training then goes on unmerged",
    )
    max_merge_attempts: PositiveInt | None = Field(
        default=None,
        description="so many merges that fail one after another are the last; None: no limit",
    )
    patience: PositiveInt | None = Field(
        default=None,
        description="epochs without a better mean dev accuracy of the sources before training stops; "
        "None: all epochs",
    )
    keep_states: PositiveInt = Field(
        default=3, ge=2, description="states of each model that stay on disk after a merge"
    )
    batch: PositiveInt = Field(default=32, description="texts that pass through a model at once")
    accumulation: PositiveInt = Field(
        default=1, description="batches whose gradients are summed to a step"
    )
    learning_rate: PositiveFloat = Field(default=5e-5, description="AdamW's peak")
    weight_decay: NonNegativeFloat = Field(default=0.01, description="AdamW's")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the forward pass in training"
    )
    device: str | None = Field(default=None, description="cpu (also None), or cuda")
    max_device_gb: PositiveFloat | None = Field(
        default=None,
        description="GB (1e9 bytes) of the GPU's memory at most; batches are halved to stay below",
    )
    max_length: PositiveInt | None = Field(
        default=128, description="tokens after which texts are cut; None: none are"
    )
    seed: NonNegativeInt = Field(default=0, description="of the order of texts and of dropout")
