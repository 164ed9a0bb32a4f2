"""Options of `analyses.similarity`."""

from collections.abc import Sequence
from pathlib import Path

from analyses.running.text_options import PromptOptions
from analyses.running.variations import VariedRecipe


class SimilarityConfig(VariedRecipe, PromptOptions):
    """A recipe, what it is compared with, and the prompts on which all of it is measured."""

    @property
    def files(self) -> Sequence[Path | None]:
        return (self.prompts,)
