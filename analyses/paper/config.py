"""Options of `analyses.paper`."""

from pydantic import Field, PositiveInt, model_validator

from analyses.running.measured import MeasuredRecipe, in_latents
from analyses.running.recipe_words import recipe_words

NAMES = ("comparison", "similarity", "spaces", "layerwise", "curvature", "tokens")


class PaperConfig(MeasuredRecipe):
    """A recipe for latents, and how much of everything."""

    experiments: tuple[str, ...] = Field(default=NAMES, description=f"which of {', '.join(NAMES)}")
    n_questions: PositiveInt = Field(
        default=200, description="questions in each category that systems answer"
    )
    n_seeds: PositiveInt = Field(default=3, description="draws of those questions")
    n_prompts: PositiveInt = Field(default=128, description="prompts on which streams are measured")
    questions: str | None = Field(
        default=None,
        description="JudgeBench file, folder or hub name that systems answer; None: the bundled ones",
    )
    max_new_tokens: PositiveInt | None = Field(
        default=None,
        description="tokens of an answer at most; a reasoning model needs thousands; None: enough for "
        "the bundled questions",
    )
    batch_size: PositiveInt | None = Field(
        default=None, description="texts or prompts at a time; None: each experiment's own"
    )

    @model_validator(mode="after")
    def _latents_and_known(self) -> "PaperConfig":
        recipe = in_latents(
            self.recipe,
            "the paper is about a latent merge, which it compares with other spaces itself",
        )
        if not recipe.layers:
            raise ValueError("recipe.layers is empty; name the blocks to merge at")
        unknown = [name for name in self.experiments if name not in NAMES]
        if unknown:
            raise ValueError(f"experiments={unknown} are unknown; choose from {', '.join(NAMES)}")
        return self

    @property
    def words(self) -> str:
        return f"{recipe_words(self.recipe)}: {', '.join(self.experiments)}"
