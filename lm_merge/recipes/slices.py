"""Slices of a weight merge: which blocks of which models become the blocks of the output."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from lm_merge.recipes.parameters import Setting
from lm_merge.recipes.sources import ModelSource


def _named(source: object) -> object:
    return {"model": source} if isinstance(source, str) else source


class SliceSource(BaseModel, frozen=True, extra="forbid"):
    """Blocks first (included) to last (excluded) of one model; None for all blocks."""

    model: Annotated[ModelSource, BeforeValidator(_named)]
    blocks: tuple[int, int] | None = None
    parameters: dict[str, Setting] = Field(default_factory=dict)


class Slice(BaseModel, frozen=True, extra="forbid"):
    """Blocks of the output: one block of each source is merged into one of the output."""

    sources: tuple[SliceSource, ...] = Field(min_length=1)
    parameters: dict[str, Setting] = Field(default_factory=dict)
