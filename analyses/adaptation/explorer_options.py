"""What `lm-merge explore adaptation` shows, and where, as options."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from analyses.adaptation.config import AdaptationConfig

CONTEXT, INJECTED = "[ a 3 b 7 f 12 h 0 ]", "[ a 5 b 1 f 9 h 2 ]"  # of the bundled models


class ExplorerOptions(BaseModel):
    """A system, the contexts that its text starts with, and the port of the page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str = Field(
        default="tiny-newest", description="a model, or a recipe's file; merges have a slider"
    )
    context: str = Field(default=CONTEXT, description="c0, to begin with")
    injected: str = Field(default=INJECTED, description="c1, to begin with")
    prompt_template: str | None = Field(default=None, description="around c0, with {context}")
    injection_template: str | None = Field(default=None, description="around c1, with {context}")
    chat: bool = Field(default=False, description="put c0 into the host's chat template")
    max_new_tokens: PositiveInt = Field(default=120, description="length of the text")
    device: str | None = Field(default=None, description="torch device; None: the CPU")
    dtype: str | None = Field(default=None, description="torch dtype; None: the checkpoint's")
    port: PositiveInt = Field(default=8866, le=65535, description="port of the page on 127.0.0.1")
    open_browser: bool = Field(default=True, description="open the page in a browser")

    @model_validator(mode="after")
    def _fits_together(self) -> "ExplorerOptions":
        self.analysis()
        return self

    def analysis(self) -> AdaptationConfig:
        """The part that the analysis has, too: the system and its templates."""
        return AdaptationConfig(
            systems={"system": self.system},
            prompt_template=self.prompt_template,
            injection_template=self.injection_template,
            chat=self.chat,
            device=self.device,
            dtype=self.dtype,
        )

    def from_anywhere(self) -> dict[str, Any]:
        """The options as plain data, with a file or folder by its full path."""
        path = Path(self.system).expanduser()
        system = str(path.resolve()) if path.exists() else self.system
        return self.model_dump(mode="json") | {"system": system}
