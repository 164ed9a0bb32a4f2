"""Options of `analyses.components`; importing them needs no torch."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from analyses.decomposition.config import DecompositionConfig


class ComponentsConfig(BaseModel):
    """Which modules are decomposed, and how many components are looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fit: dict[str, Any] = Field(
        default={}, description="settings of the decomposition that differ from the experiment's"
    )
    target: dict[str, Any] = Field(
        default={}, description="settings of the target, such as {model: tiny-coder}"
    )
    seed: NonNegativeInt = Field(default=0, description="of the decomposition's random start")
    n_texts: PositiveInt = Field(default=40, description="texts to look at, skills in turn")
    n_components: PositiveInt = Field(
        default=12, description="components to look at: those with the largest mean importance"
    )
    n_inputs: PositiveInt = Field(default=5, description="tokens listed for each component")
    n_before: PositiveInt = Field(default=8, description="tokens of context listed before each")

    @property
    def decomposition(self) -> DecompositionConfig:
        """The decomposition whose components are looked at."""
        return DecompositionConfig(
            experiment="lm_trio", seeds=(self.seed,), fit=self.fit, target=self.target
        )

    @property
    def words(self) -> str:
        """What is measured, in one line."""
        return f"{self.n_components} components on {self.n_texts} texts, seed {self.seed}"
