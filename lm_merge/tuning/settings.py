"""How coefficients are fitted."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

ObjectiveName = Literal["distil", "supervised", "entropy", "infomax"]


class FitSettings(BaseModel):
    """Settings of a fit; the optimiser is Adam with betas .9 and .999."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: ObjectiveName = Field(
        default="distil",
        description="distil: like each task's adapter; supervised: right replies; entropy, infomax: "
        "sure predictions",
    )
    by: Literal["task", "block"] | tuple[str, ...] = Field(
        default="task",
        description="one coefficient an adapter for all modules (task), for each block, or for each of "
        "these texts that module paths contain; other modules get the default row",
    )
    bound: Literal["clamp", "sigmoid"] = Field(
        default="clamp", description="how coefficients are kept within 0 and 1"
    )
    start: float = Field(default=0.3, gt=0, lt=1, description="every coefficient at the start")
    learning_rate: PositiveFloat = Field(default=1e-3, description="of Adam")
    steps: PositiveInt = Field(default=300, description="steps of Adam; each sees all tasks")
    batch_size: PositiveInt = Field(default=16, description="examples of a task in a step")
    n_examples: PositiveInt = Field(default=64, description="examples of a task, from dev")
    temperature: PositiveFloat = Field(default=1.0, description="divides the logits")
    seed: NonNegativeInt = Field(default=0, description="of the order of the examples")
