"""Parameters of a merge that may differ from tensor to tensor: numbers, gradients, filters."""

from collections.abc import Mapping
from typing import Any

from lm_merge.operators.weight_methods import RANGES

Value = int | float | bool
Levels = tuple[Mapping[str, Any], ...]  # the first that has a value counts


def check_setting(name: str, setting: Any, where: str) -> None:
    """Raise ValueError that names the parameter unless it is one of the three forms, and in range.

    A number (or true, false); a gradient, that is a list of numbers from the first block to the last;
    a list of {filter, value}.
    """
    if isinstance(setting, bool | int | float):
        low, high = RANGES.get(name, (float("-inf"), float("inf")))
        if not low <= float(setting) <= high:
            raise ValueError(f"{where}: {name}={setting} is outside {low:g}..{high:g}")
        return
    if not isinstance(setting, list) or not setting:
        raise ValueError(
            f"{where}: {name}={setting!r} is no number, no list of numbers (a gradient over the "
            "blocks) and no list of {filter, value}"
        )
    for entry in setting:
        if not isinstance(entry, dict):
            if isinstance(entry, list):
                raise ValueError(f"{where}: {name}={setting!r} is a list in a list")
            check_setting(name, entry, where)
            continue
        unknown = sorted(set(entry) - {"filter", "value"})
        if unknown or "value" not in entry:
            raise ValueError(
                f"{where}: {name} has an entry with keys {sorted(entry)}; 'value' is needed and "
                "'filter' allowed"
            )
        check_setting(name, entry["value"], where)
    kinds = {isinstance(entry, dict) for entry in setting}
    if len(kinds) > 1:
        raise ValueError(f"{where}: {name}={setting!r} mixes numbers and {{filter, value}}")


def value_for(setting: Any, tensor: str, depth: float) -> Value | None:
    """The value of a setting for one tensor; None where no filter fits.

    depth: place of the tensor's block in its slice, 0 for the first and 1 for the last; tensors
    outside the blocks have 0. A gradient is followed in straight lines between its values, which are
    evenly spaced. A filter fits if it occurs in the tensor's name; the first that fits counts.
    """
    if not isinstance(setting, list):
        return setting
    if isinstance(setting[0], dict):
        for entry in setting:
            wanted = entry.get("filter")
            if wanted is None or wanted == "*" or wanted in tensor:
                return value_for(entry["value"], tensor, depth)
        return None
    place = depth * (len(setting) - 1)
    left = min(int(place), max(len(setting) - 2, 0))
    right = min(left + 1, len(setting) - 1)
    return setting[left] + (place - left) * (setting[right] - setting[left])


def lookup(levels: Levels, name: str, tensor: str, depth: float) -> Value | None:
    """The value of the innermost level that has one for this tensor; None if none has."""
    for level in levels:
        if name in level:
            value = value_for(level[name], tensor, depth)
            if value is not None:
                return value
    return None
