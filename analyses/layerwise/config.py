"""Options of `analyses.layerwise`."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from analyses.running.measured import in_latents, one_weight_a_donor
from analyses.running.text_options import TextOptions
from analyses.running.variations import VariedRecipe


class LayerwiseConfig(VariedRecipe, TextOptions):
    """A recipe, a grid of merges of its models at one block each, and the texts."""

    batch_size: PositiveInt = Field(
        default=16,
        description="texts a forward pass; on a GPU, 16 stands for as many as its free memory takes",
    )
    alphas: tuple[float, ...] = Field(
        default=(0.25, 0.5, 0.75), min_length=1, description="weights of the donors in the grid"
    )
    layers: tuple[int, ...] = Field(
        default=(), description="blocks of the grid, one at a time; none: every 5th and the last"
    )
    operators: tuple[str, ...] = Field(
        default=("lerp", "slerp", "regmean"), min_length=1, description="operators of the grid"
    )
    n_texts: PositiveInt = Field(default=200, description="how many texts at most")
    n_questions: NonNegativeInt = Field(
        default=0, description="questions a category to generate answers to; 0: no generation"
    )
    n_prompts: NonNegativeInt = Field(
        default=16,
        description="texts without answers from which signals are taken, others than those measured "
        "where there are such; 0: no signals",
    )
    at_once: PositiveInt = Field(default=16, description="merges that run as one batch at most")

    @model_validator(mode="after")
    def _in_latents(self) -> "LayerwiseConfig":
        in_latents(self.recipe, "this grid is over blocks")
        one_weight_a_donor(self.recipe)
        return self

    @property
    def files(self) -> Sequence[Path | None]:
        return (self.texts,)

    @property
    def words(self) -> str:
        blocks = ", ".join(map(str, self.layers)) or "every 5th and the last"
        return f"{super().words}; and a grid of {', '.join(self.operators)} at one block each ({blocks})"
