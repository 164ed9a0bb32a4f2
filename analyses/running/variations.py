"""What is measured in addition to a recipe: other alphas, and the same models in other spaces."""

from pydantic import Field, field_validator, model_validator

from analyses.running.measured import MeasuredRecipe
from analyses.running.recipe_words import own_alpha
from lm_merge.recipes import AdapterRecipe, Recipe, Source, as_source
from lm_merge.zoo.names import BUNDLED

USUAL = ("weights:lerp", "weights:slerp", "logits:soft")


class VariedRecipe(MeasuredRecipe):
    """A recipe, further alphas to measure it at, and merges of the full models to compare it with."""

    alphas: tuple[float, ...] = Field(
        default=(), description="weights of the donors to measure in addition to the recipe's own"
    )
    compare_with: tuple[str, ...] | None = Field(
        default=None,
        description="merges of the same full models to measure, too, such as "
        "'[weights:lerp, logits:soft]'; None: these and weights:slerp if all models are bundled, else "
        "none (weights: one checkpoint an alpha is written to a temporary folder and held in memory)",
    )

    @field_validator("compare_with")
    @classmethod
    def _known(cls, compare_with: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for one in compare_with or ():
            _check(one)
        return compare_with

    @model_validator(mode="after")
    def _comparable(self) -> "VariedRecipe":
        self.compared_recipes()  # raises for what merges of full models have no place for
        return self

    @property
    def words(self) -> str:
        also = [f"{alpha:g}" for alpha in self.alphas if alpha != own_alpha(self.recipe)]
        others = [f"{one.space} {one.operator}" for one in self.compared_recipes()]
        parts = [f"also at alpha {', '.join(also)}"] if also else []
        parts += [f"compared with {', '.join(others)}"] if others else []
        return "; ".join([super().words, *parts])

    def compared_recipes(self) -> list[Recipe]:
        """Recipes of the merges that this one is compared with, at its own alpha if it has a single one.

        Raises ValueError for weights of donors by block, which merges of full models do not have, and
        where no single alpha is known.
        """
        recipe, compare_with = self.recipe, self.compare_with
        alpha = own_alpha(recipe)
        if alpha is None and self.alphas:
            alpha = self.alphas[0]
        by_block = isinstance(recipe.donor_weights, dict)
        if compare_with is None:
            sources = (recipe.host, *recipe.donors)
            bundled = all(as_source(one).model in BUNDLED for one in sources)
            compare_with = USUAL if bundled and alpha is not None and not by_block else ()
        if compare_with and by_block:
            raise ValueError(
                f"donor_weights={recipe.donor_weights} by block and compare_with={list(compare_with)}: "
                "merges of full models take one weight a donor; give a list of weights, or "
                "compare_with: []"
            )
        if compare_with and alpha is None:
            raise ValueError(
                f"compare_with={list(compare_with)}: merges of full models have one alpha, and the "
                "recipe has none that holds for all of it; give alphas, or compare_with: []"
            )
        recipes = [self._full(one, alpha) for one in dict.fromkeys(compare_with)]
        own = recipe.space, recipe.operator
        return [one for one in recipes if (one.space, one.operator) != own]

    def _full(self, merge: str, alpha: float | None) -> Recipe:
        recipe, (space, operator) = self.recipe, merge.split(":")
        return Recipe.model_validate(
            {
                "space": space,
                "operator": operator,
                "host": recipe.host,
                "donors": _models(recipe),
                "donor_weights": recipe.donor_weights,
                "base": recipe.base if recipe.base and _takes_base(space, operator) else None,
                "alpha": alpha,
            }
        )


def _models(recipe: Recipe) -> tuple[Source, ...]:
    """The donors as models; those of a merge of adapters are the base with each adapter."""
    if not isinstance(recipe, AdapterRecipe):
        return recipe.donors
    base = as_source(recipe.host)
    names = [as_source(one).model for one in recipe.donors]
    return tuple(base.model_copy(update={"adapter": name}) for name in names)


def _check(merge: str) -> None:
    from lm_merge.operators.distributions import get_ensemble_method
    from lm_merge.operators.weight_methods import get_weight_method
    from lm_merge.recipes.weights import NAMES_OF_OTHER_SPACES

    space, _, operator = merge.partition(":")
    if space not in ("weights", "logits") or not operator:
        raise ValueError(
            f"compare_with={merge!r} is no merge of full models; give 'weights:<operator>' or "
            "'logits:<method>', for example weights:lerp or logits:soft"
        )
    try:
        if space == "logits":
            get_ensemble_method(operator)
        elif operator != "task_vector":
            get_weight_method(NAMES_OF_OTHER_SPACES.get(operator, operator))
    except ValueError as error:
        raise ValueError(f"compare_with={merge!r}: {error}") from error


def _takes_base(space: str, operator: str) -> bool:
    from lm_merge.operators.weight_methods import WEIGHT_METHODS

    known = WEIGHT_METHODS.get(operator)
    needed = operator == "task_vector" or (known is not None and known.base == "needed")
    return space == "weights" and needed
