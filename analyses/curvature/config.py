"""Options of `analyses.curvature`."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, PositiveInt, model_validator

from analyses.running.measured import BUNDLED_PAIR, MeasuredRecipe, in_latents
from analyses.running.recipe_words import block_alphas
from analyses.running.text_options import TextOptions
from lm_merge.recipes import Recipe

STRAIGHT = ("lerp", "regmean")


class CurvatureConfig(MeasuredRecipe, TextOptions):
    """A recipe, whose blocks are merged one at a time, further blocks and alphas, and the texts."""

    recipe: Recipe = Field(
        default=BUNDLED_PAIR.model_copy(update={"operator": "lerp"}),
        description="the merge to measure: a YAML file, or its fields; one donor, operator lerp, or "
        "regmean, which equals it here",
    )
    layers: tuple[int, ...] = Field(
        default=(),
        description="blocks to merge at besides the recipe's, one at a time; none: every 5th and the "
        "last",
    )
    alphas: tuple[float, ...] = Field(
        default=(0.25, 0.5, 0.75),
        description="weights of the donor to measure besides the recipe's own",
    )
    n_texts: PositiveInt = Field(default=64, description="how many texts at most")
    n_points: int = Field(
        default=16, ge=8, description="points of the segment at which the curvature is looked at"
    )

    @model_validator(mode="after")
    def _straight_segment(self) -> "CurvatureConfig":
        recipe = in_latents(self.recipe, "the bound is about merged states")
        if recipe.operator not in STRAIGHT:
            raise ValueError(
                f"recipe.operator={recipe.operator!r} leaves the straight segment that the bound is "
                f"about; choose from {', '.join(STRAIGHT)}"
            )
        if len(recipe.donors) != 1:
            raise ValueError(
                f"recipe.donors={list(recipe.donors)}: a segment has one donor's stream at its end; "
                "give one"
            )
        outside = [alpha for alpha in self.all_alphas if not 0 < alpha < 1]
        if outside:
            raise ValueError(f"alphas={outside} must lie strictly between 0 (host) and 1 (donor)")
        return self

    @property
    def all_alphas(self) -> tuple[float, ...]:
        """Every alpha to measure, the recipe's own among them, in rising order."""
        return tuple(sorted({*self.alphas, *block_alphas(self.recipe).values()}))

    @property
    def files(self) -> Sequence[Path | None]:
        return (self.texts,)

    @property
    def words(self) -> str:
        blocks = ", ".join(map(str, self.layers)) or "every 5th and the last"
        alphas = ", ".join(f"{alpha:g}" for alpha in self.all_alphas)
        return f"{super().words}; its blocks and others ({blocks}) one at a time, alpha {alphas}"
