"""Every combination of listed values, put into a base configuration."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

ConfigT = TypeVar("ConfigT", bound=BaseModel)


def grid_labels(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The combinations of the values of each name; the last name turns fastest.

    Raises ValueError for a name without values.

    >>> grid_labels({"operator": ["lerp", "slerp"], "seed": [0, 1]})[1]
    {'operator': 'lerp', 'seed': 1}
    """
    for name, choices in values.items():
        if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices:
            raise ValueError(f"grid {name}={choices!r}: give a list of at least one value")
    return [
        dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())
    ]


def with_values(base: ConfigT, values: Mapping[str, Any]) -> ConfigT:
    """`base` with other values, checked as a whole; `outer.inner` names an entry of a nested field.

    Fields that `base` left at their defaults stay unset. Raises ValueError that names the values.

    >>> from lm_merge import Recipe
    >>> base = Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers=(3,))
    >>> with_values(base, {"operator": "regmean", "operator_args.lambda_reg": 3.0}).operator_args
    {'lambda_reg': 3.0}
    """
    given = {name: getattr(base, name) for name in base.model_fields_set}
    return config_with(type(base), given, values)


def config_with(
    config_class: type[ConfigT], given: Mapping[str, Any], values: Mapping[str, Any]
) -> ConfigT:
    """A configuration of the given settings and, over them, `values` with dots as in `with_values`."""
    settings, fields = dict(given), config_class.model_fields
    for path, value in values.items():
        head, *rest = path.split(".")
        if head not in fields:
            raise ValueError(
                f"grid {path}: {config_class.__name__} has no {head!r}; "
                f"choose from {', '.join(fields)}"
            )
        if rest:
            outer = settings.get(head, fields[head].get_default(call_default_factory=True))
            value = _nested(outer, rest, value)
        settings[head] = value
    try:
        return config_class(**settings)
    except ValidationError as error:
        raise ValueError(f"grid cell {dict(values)}: {error}") from error


def grid(base: ConfigT, values: Mapping[str, Sequence[Any]]) -> list[ConfigT]:
    """`base` with every combination of values, in the order of `grid_labels`."""
    return [with_values(base, label) for label in grid_labels(values)]


def _nested(outer: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    if isinstance(outer, BaseModel):
        outer = {name: getattr(outer, name) for name in outer.model_fields_set}
    if outer is not None and not isinstance(outer, Mapping):
        raise ValueError(
            f"grid: {'.'.join(path)} lies inside {outer!r}, which has no named entries"
        )
    inner = dict(outer or {})
    return inner | {path[0]: _nested(inner.get(path[0]), path[1:], value)}
