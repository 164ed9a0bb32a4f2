"""The methods of the format that names `adapters` and a `method`, as fields of our recipe."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lm_merge.errors import short
from lm_merge.recipes.coefficients import CoefficientRule


@dataclass(frozen=True)
class Given:
    """What a method's fields are made of: number of adapters, parameters, policy of lambda."""

    n: int
    params: dict[str, Any]
    policy: Mapping[str, Any]

    def number(self, key: str, default: float | None) -> float:
        """A parameter that must be a number."""
        value = self.params.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"method_params: {key}={short(value)} is no number")
        return value

    def refuse_others(self, method: str, *known: str) -> None:
        """Raise ValueError for parameters that the method does not take."""
        unknown = sorted(set(self.params) - set(known))
        if unknown:
            takes = ", ".join(known) or "none"
            raise ValueError(
                f"method_params: {', '.join(unknown)}: unknown to method {method!r}, which takes {takes}"
            )


def _uniform(given: Given) -> dict[str, Any]:
    given.refuse_others("uniform")
    return {"operator": "factor_mean", "alpha": 1.0}


def _task_vector(given: Given) -> dict[str, Any]:
    given.refuse_others("task_vector")
    return {"operator": "linear", "alpha": 1.0}


def _weighted(given: Given) -> dict[str, Any]:
    return {"operator": "factor_mean", **_of_lambda(given, "weighted")}


def _weighted_delta(given: Given) -> dict[str, Any]:
    return {"operator": "linear", **_of_lambda(given, "weighted_delta")}


def _ties(given: Given) -> dict[str, Any]:
    given.refuse_others("ties", "k", "lambda")
    arguments = {"density": given.number("k", 20) / 100, "trim": "global"}
    return {"operator": "ties", "alpha": given.number("lambda", 1.0), "operator_args": arguments}


def _dare(given: Given) -> dict[str, Any]:
    given.refuse_others("dare", "drop_rate", "seed")
    density = 1 - given.number("drop_rate", 0.9)
    arguments = {"density": round(density, 12), "seed": int(given.number("seed", 42))}
    return {"operator": "dare_linear", "alpha": 1.0, "operator_args": arguments}


def _uniform_scalar_delta(given: Given) -> dict[str, Any]:
    given.refuse_others("uniform_scalar_delta", "scale")
    return {"operator": "linear", "coefficients": (given.number("scale", 1.0),) * given.n}


def _weighted_delta_n(given: Given) -> dict[str, Any]:
    known = ("task_coefficients", "normalize_coefficients", "allow_negative_coefficients")
    given.refuse_others(
        "weighted_delta_n", *known, "layer_task_coefficients", "default_task_coefficients"
    )
    default = given.params.get("default_task_coefficients", given.params.get("task_coefficients"))
    rows = dict(given.params.get("layer_task_coefficients") or {})
    normalize = bool(given.params.get("normalize_coefficients", True))
    rest = _row([1 / given.n] * given.n if default is None else default, normalize=normalize)
    if not rows:
        return {"operator": "linear", "coefficients": rest}
    rules = {int(block): _row(row, normalize=normalize) for block, row in rows.items()}
    return {"operator": "linear", "coefficients": _by_block(rules, rest)}


def _of_lambda(given: Given, method: str) -> dict[str, Any]:
    """Coefficients (lambda, 1 - lambda) of two adapters, the same everywhere or by block."""
    given.refuse_others(method, "lambda")
    if given.n != 2:
        raise ValueError(f"method={method!r} takes 2 adapters, not {given.n}")
    kind = given.policy.get("type", "scalar")
    known = {"scalar": {"type", "value"}, "per_layer": {"type", "default", "overrides", "value"}}
    if kind not in known or not set(given.policy) <= known[kind]:
        raise ValueError(
            f"lambda_policy={short(dict(given.policy))}: give type scalar with value, or type per_layer "
            "with default and overrides"
        )
    default = given.policy.get("default" if kind == "per_layer" else "value")
    rest = _two(given.number("lambda", None) if default is None else default)
    overrides = given.policy.get("overrides") or {}
    if not overrides:
        return {"coefficients": rest}
    return {"coefficients": _by_block({int(k): _two(v) for k, v in overrides.items()}, rest)}


OF_TWO = ("weighted", "weighted_delta")
METHODS: dict[str, Callable[[Given], dict[str, Any]]] = {
    "uniform": _uniform,
    "weighted": _weighted,
    "task_vector": _task_vector,
    "weighted_delta": _weighted_delta,
    "weighted_delta_n": _weighted_delta_n,
    "uniform_scalar_delta": _uniform_scalar_delta,
    "ties": _ties,
    "dare": _dare,
}


def _two(value: Any) -> tuple[float, ...]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"lambda={short(value)} is no number")
    return float(value), 1 - float(value)


def _row(values: Any, *, normalize: bool) -> tuple[float, ...]:
    if not isinstance(values, list | tuple):
        raise ValueError(f"method_params: coefficients {short(values)} are no list of numbers")
    total = sum(values) if normalize else 1.0
    if total == 0:
        raise ValueError(f"method_params: coefficients {short(values)} sum to 0")
    return tuple(float(one) / total for one in values)


def _by_block(
    rows: Mapping[int, tuple[float, ...]], rest: tuple[float, ...]
) -> tuple[CoefficientRule, ...]:
    """Rules by number of block, the first number of a module's path, and one for all others."""
    rules = [CoefficientRule(pattern=rf"^\D*\.{block}\.", value=row) for block, row in rows.items()]
    return (*rules, CoefficientRule(value=rest))
