"""Options that say which texts an analysis reads."""

from pathlib import Path

from pydantic import BaseModel, Field, PositiveInt


class ReadingOptions(BaseModel):
    """How texts are read."""

    chat: bool = Field(default=True, description="put prompts into the host's chat template")
    batch_size: PositiveInt = Field(default=16, description="texts a forward pass")
    seed: int = Field(default=0, description="of the bundled questions")


class PromptOptions(ReadingOptions):
    """Which prompts are read."""

    prompts: Path | None = Field(
        default=None, description="text file, one prompt a line; None: the bundled questions"
    )
    n_prompts: PositiveInt = Field(default=128, description="how many prompts at most")


class TextOptions(ReadingOptions):
    """Which texts are read, with their right answers where they are known."""

    texts: Path | None = Field(
        default=None,
        description="text file, one text a line; None: bundled questions with their right answers",
    )
