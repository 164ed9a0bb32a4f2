"""Options of `analyses.spaces`."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, model_validator

from analyses.running.measured import MeasuredRecipe, in_latents, one_weight_a_donor
from analyses.running.recipe_words import own_alpha
from analyses.running.text_options import PromptOptions
from lm_merge.recipes import Recipe


class SpacesConfig(MeasuredRecipe, PromptOptions):
    """A recipe for latents, the merges of its models in other spaces, and the prompts."""

    operators: tuple[str, ...] = Field(
        default=("lerp", "slerp"),
        description="of latents and of weights alike, besides the recipe's own",
    )
    methods: tuple[str, ...] = Field(
        default=("soft",), description="of logits: soft, mean or weighted_majority"
    )
    alphas: tuple[float, ...] = Field(
        default=(0.25, 0.5, 0.75),
        min_length=1,
        description="weights of the donors to measure besides the recipe's own",
    )

    @model_validator(mode="after")
    def _one_pair(self) -> "SpacesConfig":
        recipe = in_latents(self.recipe, "it is compared with merges in other spaces")
        one_weight_a_donor(recipe)
        if ("task_vector" in self.all_operators) != (recipe.base is not None):
            raise ValueError(
                f"recipe.base={recipe.base!r} and operators={list(self.all_operators)}: base, the "
                "common ancestor, is for task_vector, which needs it; give both or neither"
            )
        return self

    @property
    def all_operators(self) -> tuple[str, ...]:
        """The operators, the recipe's own among them."""
        return tuple(dict.fromkeys((*self.operators, self.recipe.operator)))

    @property
    def shown_alpha(self) -> float:
        """The alpha at which spaces are compared: the recipe's, else the middle of `alphas`."""
        own = own_alpha(self.recipe)
        return sorted(self.alphas)[len(self.alphas) // 2] if own is None else own

    @property
    def files(self) -> Sequence[Path | None]:
        return (self.prompts,)

    @property
    def words(self) -> str:
        operators, methods = ", ".join(self.all_operators), ", ".join(self.methods)
        return (
            f"{super().words}; and its models by {operators} in latents and weights, by {methods} in "
            "logits"
        )

    def recipes(self) -> list[Recipe]:
        """One recipe for every space and operator; the given one unchanged."""
        own, alpha = self.recipe, own_alpha(self.recipe)
        models = {"host": own.host, "donors": own.donors, "donor_weights": own.donor_weights}
        one_alpha = {"alpha": self.shown_alpha if alpha is None else alpha}
        found = []
        for operator in self.all_operators:
            base = {"base": own.base if operator == "task_vector" else None}
            if operator != own.operator:
                found.append(own.with_fields(**base, operator=operator, operator_args={}))
            else:
                found.append(own)
            of_weights = {"space": "weights", "operator": operator, **models, **one_alpha, **base}
            found.append(Recipe.model_validate(of_weights))
        return found + [
            Recipe.model_validate(
                {"space": "logits", "operator": one, "accept": own.accept, **models, **one_alpha}
            )
            for one in self.methods
        ]
