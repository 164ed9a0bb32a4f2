"""A weight merge in the one form that merging reads: every model with its weight and parameters."""

from dataclasses import dataclass, field
from typing import Literal

from lm_merge.operators.weight_methods import RANGES, get_weight_method
from lm_merge.recipes.parameters import Settings, check_range
from lm_merge.recipes.recipe import Tolerance
from lm_merge.recipes.slices import Slice
from lm_merge.recipes.sources import ModelSource

Compat = Literal["mergekit"]
UnusedFilters = Literal["refuse", "note"]
DTYPES = ("float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Description:
    """A weight merge: method, slices of models, ancestor, parameters and form of the output.

    host: gives configuration and tokenizer. dtype: that of the output, None for the wider of the
    host's files and configuration (merging itself is done in float32); seed: of random masks; prompts:
    data of regmean and fisher; accept: differences between the models that are accepted;
    unused_filters: whether a filter that fits no tensor is refused; text: the recipe, for the card.
    Models are distinguished by name, revision and adapter: a source here has nothing else.
    """

    method: str
    host: ModelSource
    slices: tuple[Slice, ...]
    base: ModelSource | None = None
    parameters: Settings = field(default_factory=dict)
    dtype: str | None = None
    tokenizer_source: str | None = None
    compat: Compat | None = None
    seed: int = 0
    prompts: tuple[str, ...] = ()
    accept: tuple[Tolerance, ...] = ()
    unused_filters: UnusedFilters = "refuse"
    text: str = ""

    @property
    def models(self) -> tuple[ModelSource, ...]:
        """Every model once, in the order of the recipe; host and base last unless they are merged."""
        given = [source.model for one in self.slices for source in one.sources]
        base = [] if self.base is None else [self.base]
        return tuple(dict.fromkeys([*given, self.host, *base]))

    @property
    def levels(self) -> list[tuple[str, Settings]]:
        """All parameters, each with words for errors: of the merge, of slices, of their sources."""
        levels = [("parameters", self.parameters)]
        for number, one in enumerate(self.slices):
            levels.append((f"parameters of slice {number}", one.parameters))
            for source in one.sources:
                levels.append((f"parameters of {source.model.model!r}", source.parameters))
        return levels

    def check(self) -> None:
        """Check what needs no file: method, number of models, parameters, dtypes."""
        _check_models(self)
        _check_parameters(self)
        if self.dtype not in (None, *DTYPES):
            raise ValueError(f"dtype={self.dtype!r} is unknown; choose from {', '.join(DTYPES)}")


def _check_models(description: Description) -> None:
    method, name = get_weight_method(description.method), description.method
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
            raise ValueError(f"method {name!r} takes {wanted} models next to an ancestor, not {n}")


def _check_parameters(description: Description) -> None:
    name = description.method
    known: list[str] = sorted(
        {*get_weight_method(name).parameters, *(("t",) if name == "slerp" else ())}
    )
    for where, parameters in description.levels:
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            raise ValueError(
                f"{where}: {', '.join(unknown)}: unknown to method {name!r}; choose from "
                f"{', '.join(known)}"
            )
        for key, setting in parameters.items():
            if key in RANGES:
                check_range(key, setting, *RANGES[key], where)
