"""Which merges `lm-merge suggest` ranks, by which signal, as options."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class SuggestOptions(BaseModel):
    """A recipe's models, the grid of merges to rank, and the signal that ranks them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Path = Field(
        description="YAML file; the grid below replaces its own operator and alpha"
    )
    prompts: tuple[str, ...] | None = Field(
        default=None, description="a handful of prompts; None: bundled questions"
    )
    by: str = Field(
        default="kl_prompt",
        description="distance, arc_rad, head_mismatch, chord, bound or kl_prompt; least first",
    )
    layers: tuple[int, ...] = Field(
        default=(),
        description="blocks to merge at, one at a time; none: every 5th, the last and the recipe's own",
    )
    alphas: tuple[float, ...] = Field(
        default=(0.25, 0.5, 0.75), min_length=1, description="weights of the donors"
    )
    operators: tuple[str, ...] = Field(
        default=("lerp", "slerp"), min_length=1, description="operators to rank"
    )
    device: str | None = Field(default=None, description="torch device; None: the CPU")
    dtype: str | None = Field(default=None, description="torch dtype; None: the checkpoint's")
    n_shown: PositiveInt = Field(default=12, description="rows to show")
