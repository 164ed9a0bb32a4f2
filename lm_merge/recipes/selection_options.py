"""Options of how sources are chosen by similarity: one name and meaning in recipes and commands."""

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from lm_merge.coefficients.selection import Normalizer, SelectionRule


class SelectionOptions(BaseModel):
    """The fields of `SelectionRule` but the number of sources, whose default differs by use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    normalizer: Normalizer = Field(default="row", description="row, softmax or sinkhorn")
    temperature: PositiveFloat = Field(default=0.05, description="of softmax")
    row_top_k: PositiveInt = Field(default=20, description="entries of a row that count")
    sinkhorn_steps: PositiveInt = Field(default=20, description="steps of sinkhorn")
    affine: bool = Field(default=False, description="(1 + S) / 2 in place of S")
    include_target: bool = Field(default=False, description="the target's own model takes part")
    same_language: bool = Field(
        default=False, description="other locales of the target's language may be sources"
    )

    def rule_for(self, n_sources: int) -> SelectionRule:
        """The rule that chooses so many sources."""
        return SelectionRule(
            n_sources, **{name: getattr(self, name) for name in SelectionOptions.model_fields}
        )
