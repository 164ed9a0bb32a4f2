"""Parameters of a weight merge that may differ from tensor to tensor: numbers, gradients, filters."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from pydantic import BaseModel, FiniteFloat

from lm_merge.errors import short

Number = FiniteFloat | int | bool
Gradient = list[Number]


class Filtered(BaseModel, frozen=True, extra="forbid"):
    """A value for the tensors whose names contain `filter`; for all where it is None or '*'."""

    filter: str | None = None
    value: Number | Gradient

    def fits(self, tensor: str) -> bool:
        """Whether the value counts for a tensor."""
        return self.filter in (None, "*") or str(self.filter) in tensor


Setting = Number | Gradient | list[Filtered]
Settings = Mapping[str, Setting]
Levels = tuple[Settings, ...]  # the first that has a value counts


def check_settings(given: Any, where: str) -> None:
    """Raise ValueError that names the parameter unless each is one of the three forms.

    A number (or true, false); a gradient, that is a list of numbers from the first block to the last;
    a list of {filter, value}.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"{where}: {short(given)} is no mapping of parameters")
    for name, setting in given.items():
        _check_setting(str(name), setting, where)


def _check_setting(name: str, setting: Any, where: str) -> None:
    if isinstance(setting, bool | int | float):
        if not isfinite(setting):
            raise ValueError(f"{where}: {name}={setting} is not finite; give a finite number")
        return
    if not isinstance(setting, list | tuple) or not setting:
        raise ValueError(
            f"{where}: {name}={short(setting)} is no number, no list of numbers (a gradient over the "
            "blocks) and no list of {filter, value}"
        )
    entries = [
        one.model_dump(exclude_unset=True) if isinstance(one, Filtered) else one for one in setting
    ]
    for entry in entries:
        if isinstance(entry, list | tuple):
            raise ValueError(f"{where}: {name}={short(setting)} is a list in a list")
        if isinstance(entry, dict):
            _check_entry(name, entry, where)
        else:
            _check_setting(name, entry, where)
    if len({isinstance(entry, dict) for entry in entries}) > 1:
        raise ValueError(
            f"{where}: {name}={short(setting)} mixes numbers and {{filter, value}}; give one of them"
        )


def _check_entry(name: str, entry: dict[Any, Any], where: str) -> None:
    unknown = set(entry) - {"filter", "value"}
    if unknown or "value" not in entry:
        raise ValueError(
            f"{where}: {name} has an entry with keys {sorted(map(str, entry))}; 'value' is needed and "
            "'filter' allowed"
        )
    if not isinstance(entry.get("filter"), str | None):
        raise ValueError(
            f"{where}: {name} has filter={short(entry['filter'])}, which is no text; give a part of the "
            "tensors' names, such as mlp"
        )
    if isinstance(entry["value"], list) and any(isinstance(one, dict) for one in entry["value"]):
        raise ValueError(f"{where}: {name} has filters inside of a filter's value; give numbers")
    _check_setting(name, entry["value"], where)


def check_range(name: str, setting: Setting, low: float, high: float, where: str) -> None:
    """Raise ValueError that names the parameter where a value is outside of its range."""
    for value in _numbers(setting):
        if not low <= float(value) <= high:
            raise ValueError(f"{where}: {name}={value:g} is outside {low:g}..{high:g}")


def _numbers(setting: Setting) -> Iterable[Number]:
    if not isinstance(setting, list):
        yield setting
        return
    for entry in setting:
        yield from _numbers(entry.value if isinstance(entry, Filtered) else entry)


def lookup(levels: Levels, name: str, tensor: str, depth: float) -> Number | None:
    """The value of the innermost level that has one for this tensor; None if the name is in none.

    depth: place of the tensor's block in its slice, 0 for the first and 1 for the last; tensors
    outside the blocks have 0. A gradient is followed in straight lines between its values, which are
    evenly spaced. A filter fits if it occurs in the tensor's name; the first that fits counts.

    Raises ValueError, with the entry to add, where the name is given for other tensors only.
    """
    given = [level[name] for level in levels if name in level]
    for setting in given:
        found = _value_for(setting, tensor, depth)
        if found is not None:
            return found
    if given:
        raise ValueError(
            f"parameter {name!r}: none of its filters fits tensor {tensor!r}; add a last entry without "
            "a filter, '- value: ...', for all other tensors"
        )
    return None


def _value_for(setting: Setting, tensor: str, depth: float) -> Number | None:
    if not isinstance(setting, list):
        return setting
    values: Gradient = []
    for entry in setting:
        if not isinstance(entry, Filtered):
            values.append(entry)
        elif entry.fits(tensor):
            return _value_for(entry.value, tensor, depth)
    if not values:
        return None  # no filter fits
    place = depth * (len(values) - 1)
    left = min(int(place), max(len(values) - 2, 0))
    right = min(left + 1, len(values) - 1)
    return values[left] + (place - left) * (values[right] - values[left])


def filters_without_tensor(
    levels: Iterable[tuple[str, Settings]], tensors: Iterable[str]
) -> tuple[str, ...]:
    """A sentence for every filter that occurs in no tensor's name; levels with words for it."""
    names = list(tensors)
    return tuple(
        f"{where}: filter {entry.filter!r} of {name} fits no tensor, so its value counts for none; "
        f"tensors are {names[0]!r}, {names[len(names) // 2]!r}, ...; give a part of their names, such "
        "as '- filter: mlp', or leave the entry out"
        for where, level in levels
        for name, setting in level.items()
        for entry in (setting if isinstance(setting, list) else ())
        if isinstance(entry, Filtered) and not any(map(entry.fits, names))
    )
