"""Settings of a decomposition; importing them needs no torch."""

import inspect
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)


class DecompositionSettings(BaseModel):
    """How the components of a target are found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    components: PositiveInt | dict[str, PositiveInt] = Field(
        default=20, description="components of each layer, or of the layers that a pattern fits"
    )
    gate: str = Field(default="scalar", description="scalar, vector, shared or global")
    gate_width: PositiveInt = Field(default=16, description="hidden units of a gate")
    one_sided_leak: bool = Field(
        default=True, description="gradients pass an importance of 0 only where they raise it"
    )
    remainder: bool = Field(
        default=True, description="masked layers add a random share of W - U V, which no gate keeps"
    )
    mask_source: Literal["uniform", "binomial"] = Field(
        default="uniform", description="distribution of the random masks' draws"
    )
    losses: dict[str, dict[str, float | None]] = Field(
        default={
            "stochastic": {"weight": 1.0},
            "layerwise": {"weight": 1.0},
            "importance": {"weight": 3e-3, "p": 1.0},
        },
        description="loss -> its weight and its arguments",
    )
    lr: PositiveFloat = Field(default=2e-3, description="AdamW's learning rate at the start")
    schedule: Literal["constant", "cosine"] = Field(
        default="cosine", description="of the learning rate; cosine: lr cos(pi/2 t/(T-1))"
    )
    lr_warmup_frac: NonNegativeFloat = Field(
        default=0.0, le=1, description="share of the steps in which the learning rate rises from 0"
    )
    steps: PositiveInt = Field(default=6000, description="steps of the optimizer")
    batch: PositiveInt = Field(default=1024, description="examples a step and seed")
    faithful_start: NonNegativeInt = Field(
        default=200, description="steps on |W - U V|^2 alone first, AdamW with lr 0.01, decay 0.1"
    )
    eval_every: PositiveInt = Field(
        default=1000, description="steps from one table row to the next"
    )
    eval_batch: PositiveInt = Field(default=4096, description="examples that metrics are taken on")

    @model_validator(mode="after")
    def _known_and_sufficient(self) -> "DecompositionSettings":
        from lm_merge.decomposition.importance import GATES

        if self.gate not in GATES:
            raise ValueError(f"gate={self.gate!r} is unknown; choose from {', '.join(GATES)}")
        for name, arguments in self.losses.items():
            check_loss(name, arguments)
        if not self.remainder and not self.weight_of("faithfulness"):
            raise ValueError(
                "remainder=False without a weight of the loss 'faithfulness': nothing then ties the "
                "components to the weights; give one of them"
            )
        return self

    def weight_of(self, loss: str) -> float:
        """Weight of a loss; 0 where it is not used."""
        return float(self.losses.get(loss, {}).get("weight") or 0.0)


def check_loss(name: str, arguments: dict[str, float | None]) -> None:
    """Raise ValueError for an unknown loss, and for arguments that it does not have."""
    from lm_merge.decomposition.losses import PENALTIES, RECONSTRUCTIONS

    allowed: set[str] = {"weight"}
    if name in PENALTIES:
        allowed |= set(list(inspect.signature(PENALTIES[name]).parameters)[1:])
    elif name not in RECONSTRUCTIONS:
        known = ", ".join(sorted([*PENALTIES, *RECONSTRUCTIONS]))
        raise ValueError(f"losses: {name!r} is unknown; choose from {known}")
    unknown = sorted(set(arguments) - allowed)
    if unknown or arguments.get("weight") is None:
        raise ValueError(
            f"losses: {name}={arguments}: give a weight and, if wanted, {sorted(allowed - {'weight'})}; "
            f"unknown: {unknown}"
        )


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings with others on top; `losses` by loss, a loss of None is left out."""
    joined = {**base, **changes}
    if "losses" in base and "losses" in changes:
        losses = {**base["losses"], **changes["losses"]}
        joined["losses"] = {name: value for name, value in losses.items() if value is not None}
    return joined
