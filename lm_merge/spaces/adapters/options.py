"""Arguments of a method for adapters, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lm_merge.operators.weight_methods import RANGES, THINNING
from lm_merge.spaces.adapters.methods import AdapterMethod

Trim = Literal["tensor", "global"]
TO_DIRECTION = ("max_iter", "tol")


@dataclass(frozen=True)
class MethodOptions:
    """What a method is called with.

    thinning: density and its like. normalize: whether a sum over agreeing signs is divided by their
    weights; None where a method does not ask. trim: one threshold a module, or one a source over all
    modules. seed: of random masks. direction: arguments of methods by angles.
    """

    thinning: Mapping[str, float] = field(default_factory=dict)
    normalize: bool | None = None
    trim: Trim = "tensor"
    seed: int = 0
    direction: Mapping[str, int | float] = field(default_factory=dict)


def read_options(method: AdapterMethod, given: Mapping[str, Any]) -> MethodOptions:
    """Check the arguments of a method; ValueError that names the ones it takes and their ranges."""
    known = known_options(method)
    unknown = sorted(set(given) - set(known))
    if unknown:
        takes = f"takes {', '.join(known)}" if known else "takes no arguments"
        raise ValueError(f"{', '.join(unknown)}: operator {method.name!r} {takes}")
    values = known | dict(given)
    for name, value in values.items():
        _check(name, value, method.name)
    return MethodOptions(
        thinning={name: float(values[name]) for name in THINNING if name in values},
        normalize=values.get("normalize"),
        trim=values.get("trim", "tensor"),
        seed=values.get("seed", 0),
        direction={name: values[name] for name in TO_DIRECTION if name in values},
    )


def known_options(method: AdapterMethod) -> dict[str, Any]:
    """Every argument that a method takes, with its default."""
    weight_method = method.weight_method
    if weight_method is None:
        return {}
    names = (*THINNING, *TO_DIRECTION, *(("normalize",) if method.form == "dense" else ()))
    known: dict[str, Any] = {
        name: value for name, value in weight_method.parameters.items() if name in names
    }
    if weight_method.random:
        known["seed"] = 0
    if method.name == "ties":
        known["trim"] = "tensor"
    return known


def _check(name: str, value: Any, operator: str) -> None:
    if name == "trim":
        if value not in get_args(Trim):
            raise ValueError(f"trim={value!r}: choose from {', '.join(get_args(Trim))}")
        return
    kind = bool if name == "normalize" else int if name in ("seed", "max_iter") else int | float
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ValueError(f"{name}={value!r} of operator {operator!r} has the wrong type")
    low, high = RANGES.get(name, (float("-inf"), float("inf")))
    if not low <= value <= high:
        raise ValueError(f"{name}={value} of operator {operator!r} is outside {low:g}..{high:g}")
