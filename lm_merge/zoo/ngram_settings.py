"""Settings of the training of n-gram models; importing them needs no torch."""

from pydantic import BaseModel, ConfigDict, Field


class PretrainingSettings(BaseModel):
    """Settings of the contrastive training of the encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab_size: int = Field(default=65_536, ge=2, description="hashed n-grams, padding among them")
    width: int = Field(default=64, ge=1, description="of an n-gram's vector")
    hidden: int = Field(default=128, ge=1, description="width of the hidden layer")
    steps: int = Field(default=1_500, ge=1, description="batches of pairs of translations")
    batch: int = Field(default=256, ge=2, description="pairs a step")
    learning_rate: float = Field(default=2e-3, gt=0, description="Adam's, falling to 0 in a line")
    vector_rate: float = Field(default=1e-2, gt=0, description="that of the n-grams' vectors")
    temperature: float = Field(default=0.05, gt=0, description="of the softmax over the batch")
    seed: int = Field(default=0, description="of weights and batches")


class TuningSettings(BaseModel):
    """Settings of the fine-tuning of one classifier."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=2, ge=1, description="passes over the texts")
    batch: int = Field(default=64, ge=1, description="texts a step")
    learning_rate: float = Field(default=2e-3, gt=0, description="Adam's, falling to 0 in a line")
    vector_rate: float = Field(default=2e-3, gt=0, description="that of the n-grams' vectors")
    seed: int = Field(default=0, description="of the head and of the order")
