"""Options of `analyses.tokens`."""

from pydantic import Field, PositiveInt, model_validator

from analyses.running.measured import MeasuredRecipe, in_latents


class TokensConfig(MeasuredRecipe):
    """A recipe for latents and one prompt."""

    prompt: str = Field(default="47+38 = ?", description="what to answer")
    chat: bool = Field(default=True, description="put the prompt into the host's chat template")
    max_new_tokens: PositiveInt = Field(default=32, description="tokens of the answer at most")
    top_k: PositiveInt = Field(default=3, description="likeliest tokens of each system to show")
    curvature: bool = Field(
        default=True,
        description="K_g of each token at the first merged block; half precision models are copied "
        "to float32 above it for that",
    )

    @model_validator(mode="after")
    def _in_latents(self) -> "TokensConfig":
        in_latents(self.recipe, "tokens are compared with the merged stream")
        return self

    @property
    def words(self) -> str:
        return f"{super().words}, on the prompt {self.prompt!r}"
