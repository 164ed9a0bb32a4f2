"""Settings of fine-tuning; importing them needs no torch."""

from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)


class FinetuneSettings(BaseModel):
    """How a classifier is fine-tuned by transformers' Trainer (AdamW, linear schedule)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: PositiveFloat = Field(default=5.0, description="passes over the texts at most")
    batch: PositiveInt = Field(default=32, description="texts a step on the device")
    accumulation: PositiveInt = Field(default=1, description="steps whose gradients are summed")
    learning_rate: PositiveFloat = Field(default=5e-5, description="AdamW's peak")
    weight_decay: NonNegativeFloat = Field(default=0.01, description="AdamW's")
    warmup: NonNegativeFloat = Field(default=0.1, lt=1, description="share of the steps")
    patience: PositiveInt | None = Field(
        default=None,
        description="epochs without a better dev accuracy before it stops; None: never",
    )
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="of the forward pass"
    )
    max_length: PositiveInt = Field(default=128, description="tokens after which texts are cut")
    seed: NonNegativeInt = Field(default=0, description="of the head and of the order")
