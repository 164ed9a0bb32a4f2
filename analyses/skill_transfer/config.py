"""Options of `analyses.skill_transfer`."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from analyses.running.measured import MeasuredRecipe
from analyses.running.recipe_words import recipe_words
from lm_merge.recipes import ModelSource, Recipe, as_source

SPACES = ("latents", "weights", "adapters", "logits")


class SkillTransferConfig(MeasuredRecipe):
    """A recipe, a grid of merges of its models, the questions of the skill, and prompts."""

    merges: tuple[str, ...] = Field(
        default=("latents:slerp",),
        description="the grid, as '[latents:slerp, weights:lerp, logits:soft]': latents at one block "
        "each, the others as full models; adapters:linear where the donor is the host with an adapter",
    )
    layers: tuple[int, ...] = Field(
        default=(), description="blocks of the merges in latents, one at a time; none: the recipe's"
    )
    alphas: tuple[float, ...] = Field(
        default=(0.5,), min_length=1, description="weights of the donor in the grid"
    )
    questions: Path | None = Field(
        default=None,
        description="JSONL of own questions (prompt, answer, category, check); None: bundled questions",
    )
    n_questions: PositiveInt = Field(default=100, description="how many questions at most")
    prompts: Path | None = Field(
        default=None,
        description="text file of prompts of the host's everyday use, one a line; None: bundled "
        "questions, others than those of the skill",
    )
    n_prompts: PositiveInt = Field(default=32, description="how many prompts at most")
    max_new_tokens: PositiveInt = Field(default=40, description="tokens of an answer at most")
    reply_tokens: PositiveInt = Field(
        default=40, description="tokens of the host's reply to a prompt at most"
    )
    stop_ids: tuple[NonNegativeInt, ...] = Field(
        default=(), description="ids that end an answer besides the host's own"
    )
    batch_size: PositiveInt = Field(default=50, description="questions at a time")
    seed: int = Field(default=0, description="of the bundled questions")

    @model_validator(mode="after")
    def _one_pair(self) -> "SkillTransferConfig":
        if self.recipe.space == "adapters" or len(self.recipe.donors) != 1:
            raise ValueError(
                f"recipe.space={self.recipe.space!r}, recipe.donors={len(self.recipe.donors)}: recovery "
                "is of one donor, a model; give a recipe of space latents, weights or logits with one "
                "donor (a base with an adapter is one)"
            )
        self.grid()  # raises for what does not fit
        return self

    @property
    def files(self) -> Sequence[Path | None]:
        return (self.questions, self.prompts)

    @property
    def words(self) -> str:
        amounts = ", ".join(f"{alpha:g}" for alpha in self.alphas)
        blocks = ", ".join(map(str, self.blocks))
        where = f" at one block each ({blocks})" if blocks else ""
        return f"{super().words}; and a grid of {', '.join(self.merges)}{where}, alpha {amounts}"

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks of the grid's merges in latents."""
        return self.layers or tuple(self.recipe.layers or ())

    @property
    def host(self) -> ModelSource:
        """The model whose answers are the base of recovery."""
        return as_source(self.recipe.host)

    @property
    def donor(self) -> ModelSource:
        """The model with the skill."""
        return as_source(self.recipe.donors[0])

    def grid(self) -> list[Recipe]:
        """The recipe unchanged, then every merge of the grid, each once."""
        found = [self.recipe]
        for merge in self.merges:
            space, _, operator = merge.partition(":")
            if space not in SPACES or not operator:
                raise ValueError(
                    f"merges={merge!r} is no merge; give 'space:operator', with a space of "
                    f"{', '.join(SPACES)}, for example latents:slerp"
                )
            if space == "latents" and not self.blocks:
                raise ValueError(f"merges={merge!r} needs blocks; give layers, counted from 0")
            for layer in self.blocks if space == "latents" else (None,):
                found += [self._merge(space, operator, layer, alpha) for alpha in self.alphas]
        seen: dict[str, Recipe] = {}
        for recipe in found:
            rest = recipe.model_dump_json(exclude={"layers", "alpha"})
            seen.setdefault(f"{cell_words(recipe)} {rest}", recipe)
        return list(seen.values())

    def _merge(self, space: str, operator: str, layer: int | None, alpha: float) -> Recipe:
        fields: dict[str, object] = {"space": space, "operator": operator, "host": self.recipe.host}
        fields["donors"] = self.recipe.donors
        if space == "adapters":
            fields["donors"] = (self._adapter(),)
        placed: dict[str, object] = (
            {"alpha": alpha} if layer is None else {"layers": {layer: alpha}}
        )
        base = self.recipe.base if operator == "task_vector" else None
        if base is not None:
            placed["base"] = base
        return Recipe.model_validate(fields | placed)

    def _adapter(self) -> str:
        host, donor = self.host, self.donor
        if donor.adapter is None or donor.model != host.model or host.adapter is not None:
            raise ValueError(
                f"merges: space 'adapters' merges adapters of the host {host.model!r}, and the donor "
                f"{donor.model!r} is not the host with an adapter; leave adapters out"
            )
        return donor.adapter


def cell_words(recipe: Recipe) -> str:
    """Space, operator, amount and block of a merge, which differ between the cells of a grid."""
    return recipe_words(recipe).partition(", ")[2]


def block_of(recipe: Recipe) -> int | None:
    """The one block at which a recipe merges; None for several, and for full models."""
    blocks = tuple(recipe.layers or ())
    return blocks[0] if len(blocks) == 1 else None
