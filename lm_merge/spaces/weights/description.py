"""What a weight merge is, whichever file format it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lm_merge.operators.weight_methods import get_weight_method
from lm_merge.recipes import ModelSource, Tolerance
from lm_merge.spaces.weights.parameters import check_setting

Compat = Literal["mergekit"]
DTYPES = ("float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class SliceSource:
    """Blocks first (included) to last (excluded) of one model; None for all blocks."""

    model: ModelSource
    blocks: tuple[int, int] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Slice:
    """Blocks of the output: one block of each source is merged into one of the output."""

    sources: tuple[SliceSource, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """A weight merge: method, slices of models, ancestor, parameters and form of the output.

    dtype: that of the output, None for the wider of the host's files and configuration (merging itself
    is done in float32); seed: of random
    masks; given_host: None for the base or the first model; prompts: data of regmean and fisher;
    accept: differences that are accepted;
    models are told apart by name and revision: a source here has no dtype;
    text: the recipe as given, for the card.
    """

    method: str
    slices: tuple[Slice, ...]
    base: ModelSource | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None
    tokenizer_source: str | None = None
    compat: Compat | None = None
    seed: int = 0
    given_host: ModelSource | None = None
    prompts: tuple[str, ...] = ()
    accept: tuple[Tolerance, ...] = ()
    text: str = ""

    @property
    def models(self) -> tuple[ModelSource, ...]:
        """Every model once, in the order of the recipe; host and base last unless they are merged."""
        given = [source.model for one in self.slices for source in one.sources]
        others = [one for one in (self.given_host, self.base) if one is not None]
        return tuple(dict.fromkeys([*given, *others]))

    @property
    def host(self) -> ModelSource:
        """Whose configuration and tokenizer the output gets: the recipe's host, else the base."""
        if self.given_host is not None:
            return self.given_host
        if self.base is not None:
            return self.base
        return self.slices[0].sources[0].model


def check_description(description: Description) -> None:
    """Check what needs no file: method, number of models, parameters, dtypes."""
    method = get_weight_method(description.method)
    name = description.method
    if method.base == "needed" and description.base is None:
        raise ValueError(f"method {name!r} needs an ancestor: give base (mergekit: base_model)")
    if method.base == "refused" and description.base is not None:
        raise ValueError(f"method {name!r} takes no ancestor; leave base out")
    if method.statistics is not None and not description.prompts:
        raise ValueError(
            f"method {name!r} needs data: give prompts, a text file with one a line, or data in the "
            "recipe"
        )
    if method.statistics is None and description.prompts:
        raise ValueError(f"method {name!r} reads no data; leave prompts and data out")
    least, most = method.n_models
    for one in description.slices:
        n = sum(source.model != description.base for source in one.sources)
        n = n if method.base != "refused" else len(one.sources)
        if n < least or (most is not None and n > most):
            wanted = f"{least}" if most == least else f"at least {least}"
            raise ValueError(f"method {name!r} takes {wanted} models beside an ancestor, not {n}")
    known: list[str] = sorted([*method.parameters, *(["t"] if name == "slerp" else [])])
    for where, parameters in _levels(description):
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            raise ValueError(
                f"{where}: {', '.join(unknown)}: unknown to method {name!r}; choose from "
                f"{', '.join(known)}"
            )
        for key, setting in parameters.items():
            check_setting(key, setting, where)
    if description.dtype not in (None, *DTYPES):
        raise ValueError(f"dtype={description.dtype!r} is unknown; choose from {', '.join(DTYPES)}")


def _levels(description: Description) -> list[tuple[str, Mapping[str, Any]]]:
    levels = [("parameters", description.parameters)]
    for number, one in enumerate(description.slices):
        levels.append((f"parameters of slice {number}", one.parameters))
        for source in one.sources:
            levels.append((f"parameters of {source.model.model!r}", source.parameters))
    return levels
