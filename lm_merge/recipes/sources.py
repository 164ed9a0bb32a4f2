"""Where the models of a merge come from, and how each is loaded."""

from typing import Literal

from pydantic import BaseModel, Field

Task = Literal["generation", "classification", "encoding"]


class ModelSource(BaseModel, frozen=True, extra="forbid"):
    """A model as a recipe names it: a folder, a hub name or a bundled name, and how to load it."""

    model: str = Field(min_length=1, description="folder, hub name or bundled name")
    revision: str | None = Field(default=None, description="hub branch, tag or commit")
    dtype: str | None = Field(
        default=None, description="torch dtype by name; None: the checkpoint's"
    )
    device: str | None = Field(
        default=None, description="torch device of this model; None: that of the whole merge"
    )
    adapter: str | None = Field(
        default=None, description="folder or hub name of an adapter that runs on the model"
    )
    task: Task | None = Field(
        default=None,
        description="generation (also None), classification with a head of labels, or encoding: the "
        "body of an encoder or of a classifier",
    )


Source = str | ModelSource


def as_source(source: Source) -> ModelSource:
    """A source by name alone as a ModelSource; a ModelSource as it is."""
    return ModelSource(model=source) if isinstance(source, str) else source
