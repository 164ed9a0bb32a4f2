"""Options of `analyses.report`."""

from typing import Any

from pydantic import Field, PositiveInt, model_validator

from analyses.running.measured import BUNDLED_PAIR, in_latents
from analyses.running.recipe_words import own_alpha
from analyses.similarity.config import SimilarityConfig
from lm_merge.recipes import Recipe

BOTH = ("tiny-thinker", "tiny-coder")


class ReportConfig(SimilarityConfig):
    """What the similarity analysis takes, and how many questions are asked."""

    alphas: tuple[float, ...] = Field(
        default=(0.25, 0.5, 0.75),
        min_length=1,
        description="weights of the donors to measure in addition to the recipe's own",
    )
    n_questions: PositiveInt = Field(default=50, description="held-out questions in each category")
    n_examples: PositiveInt = Field(default=1, description="answers shown of each category")
    n_texts: PositiveInt = Field(
        default=32, description="answered questions for the grid of merges and for the curvature"
    )
    other_spaces: bool = Field(
        default=True,
        description="ask also weight merges (each a temporary checkpoint) and logit ensembles",
    )

    @model_validator(mode="after")
    def _other_spaces_can_be_had(self) -> "ReportConfig":
        in_latents(self.recipe, "the report is about a merged stream")
        self.other_recipes()  # raises for what merges of full models have no place for
        return self

    @property
    def shown_alpha(self) -> float:
        """The alpha at which spaces are compared: the recipe's, else the middle of `alphas`."""
        own = own_alpha(self.recipe)
        return sorted(self.alphas)[len(self.alphas) // 2] if own is None else own

    @property
    def own_name(self) -> str:
        """Name of the recipe's merge among those in other spaces."""
        own = own_alpha(self.recipe)
        return f"latents {self.recipe.operator}" + ("" if own is None else f" {own:g}")

    def other_recipes(self) -> dict[str, Recipe]:
        """Merges of the pair in every space; for the bundled pair also with the coder, in weights."""
        if not self.other_spaces:
            return {}
        own, alpha = self.recipe, self.shown_alpha
        pair: dict[str, Any] = {"host": own.host, "donors": own.donors, "alpha": alpha}
        pair["donor_weights"] = own.donor_weights
        accept = {"accept": own.accept}
        of_latents = accept | {
            "layers": tuple(own.layers or ()),
            "positions": own.positions,
            "donor_stream": own.donor_stream,
        }
        kinds = (
            ("latents", "lerp", of_latents),
            ("latents", "slerp", of_latents),
            ("weights", "lerp", {}),
            ("weights", "slerp", {}),
            ("logits", "soft", accept),
            ("logits", "mean", accept),
        )
        recipes = {
            f"{space} {operator} {alpha:g}": Recipe.model_validate(
                {"space": space, "operator": operator, **pair, **more}
            )
            for space, operator, more in kinds
        }
        recipes.pop(self.own_name, None)  # asked already
        if (own.host, own.donors) == (BUNDLED_PAIR.host, BUNDLED_PAIR.donors):
            trio: dict[str, Any] = {"host": own.host, "base": own.host, "donors": BOTH}
            mean = {"space": "weights", "operator": "task_arithmetic", "alpha": 1.0, **trio}
            ties = {
                "space": "weights",
                "operator": "ties",
                "operator_args": {"density": 0.5},
                **trio,
            }
            recipes["weights task_arithmetic, trio"] = Recipe.model_validate(mean)
            recipes["weights ties, trio"] = Recipe.model_validate(ties)
        return recipes
