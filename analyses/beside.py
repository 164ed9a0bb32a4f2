"""Merges of the same models in other spaces, to be measured beside a recipe's own."""

from pydantic import Field, field_validator

from analyses.running.flat_recipe import FlatRecipe
from lm_merge.operators.distributions import get_ensemble_method
from lm_merge.operators.weight_methods import WEIGHT_METHODS, get_weight_method
from lm_merge.recipes import Recipe, as_source
from lm_merge.spaces.weights.own_format import NAMES_OF_OTHER_SPACES
from lm_merge.zoo.names import BUNDLED


class ComparedRecipe(FlatRecipe):
    """A recipe, several alphas to measure it at, and merges of whole models to set beside it."""

    alphas: tuple[float, ...] = Field(
        default=(0.25, 0.5, 0.75),
        min_length=1,
        description="weights of the donors to measure; stand in for the recipe's alpha",
    )
    beside: tuple[str, ...] | None = Field(
        default=None,
        description="merges of the same models to measure, too, such as '[weights:lerp, logits:soft]'; "
        "None: a few if all models are bundled, else none (weights: one checkpoint an alpha is "
        "written to a temporary folder and held in memory)",
    )

    @field_validator("beside")
    @classmethod
    def _known(cls, beside: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for one in beside or ():
            _check(one)
        return beside

    def recipes_beside(self, usual: tuple[str, ...]) -> list[Recipe]:
        """Recipes of what is set beside this one; `usual` where it is not said and all is bundled.

        Raises ValueError for donors' weights by block, which merges of whole models do not have.
        """
        beside = self.beside
        if beside is None:
            sources = (self.host, *self.donors)
            beside = usual if all(as_source(one).model in BUNDLED for one in sources) else ()
        if beside and isinstance(self.donor_weights, dict):
            raise ValueError(
                f"donor_weights={self.donor_weights} by block and beside={list(beside)}: merges of "
                "whole models take one weight a donor; give a list of weights, or beside: []"
            )
        recipes = [self._whole(*one.split(":")) for one in dict.fromkeys(beside)]
        return [one for one in recipes if (one.space, one.operator) != (self.space, self.operator)]

    def _whole(self, space: str, operator: str) -> Recipe:
        return Recipe.model_validate(
            {
                "space": space,
                "operator": operator,
                "host": self.host,
                "donors": self.donors,
                "donor_weights": self.donor_weights,
                "base": self.base if space == "weights" and _needs_base(operator) else None,
                "alpha": self.alphas[0],
            }
        )


def _check(beside: str) -> None:
    space, _, operator = beside.partition(":")
    if space not in ("weights", "logits") or not operator:
        raise ValueError(
            f"beside={beside!r} is no merge of whole models; give 'weights:<operator>' or "
            "'logits:<method>', for example weights:lerp or logits:soft"
        )
    try:
        if space == "logits":
            get_ensemble_method(operator)
        elif operator != "task_vector":
            get_weight_method(NAMES_OF_OTHER_SPACES.get(operator, operator))
    except ValueError as error:
        raise ValueError(f"beside={beside!r}: {error}") from error


def _needs_base(operator: str) -> bool:
    known = WEIGHT_METHODS.get(operator)
    return operator == "task_vector" or (known is not None and known.base == "needed")
