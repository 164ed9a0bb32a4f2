"""What configurations of analyses share: the recipe that is measured, and where its models run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, computed_field

from analyses.running.recipe_words import recipe_words
from lm_merge.recipes import Recipe

BUNDLED_PAIR = Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers={3: 0.5})


@runtime_checkable
class Described(Protocol):
    """A configuration that says in one line what is measured."""

    @property
    def words(self) -> str: ...


class Placement(BaseModel):
    """Where models run, and in which dtype."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str | None = Field(default=None, description="torch device; None: the CPU")
    dtype: str | None = Field(default=None, description="torch dtype; None: the checkpoint's")


class MeasuredRecipe(Placement):
    """A recipe, which is measured unchanged; options of an analysis only add to it."""

    recipe: Recipe = Field(
        default=BUNDLED_PAIR,
        description="the merge to measure: a YAML file, or its fields; None: the bundled pair",
    )

    @property
    def files(self) -> Sequence[Path | None]:
        """Files besides the models that are read."""
        return ()

    @property
    def words(self) -> str:
        """What is measured, in one line."""
        return recipe_words(self.recipe)

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of the files that are read, so that a run is found again only for the same."""
        from analyses.running.inputs import fingerprints  # needs torch, which the options do not

        return fingerprints(self.recipe, *self.files)


def in_latents(recipe: Recipe, why: str) -> Recipe:
    """The recipe; ValueError with the reason if it does not merge latents."""
    if recipe.space != "latents":
        raise ValueError(f"recipe.space={recipe.space!r}: {why}; give a recipe of space 'latents'")
    return recipe


def one_weight_a_donor(recipe: Recipe) -> Recipe:
    """The recipe; ValueError where the donors' weights differ from block to block."""
    if isinstance(recipe.donor_weights, dict):
        raise ValueError(
            f"recipe.donor_weights={recipe.donor_weights} by block; here every donor has one weight: "
            "give a list of weights"
        )
    return recipe
