"""Which modules share a row of fitted coefficients."""

import re
from collections.abc import Sequence
from typing import Literal

from lm_merge.coefficients.coefficient_file import Group
from lm_merge.coefficients.groups import Rule
from lm_merge.spaces.adapters import AdapterMerge
from lm_merge.spaces.weights.blocks import find_blocks

DEFAULT = "default"


def fit_groups(merge: AdapterMerge, by: Literal["task", "block"] | Sequence[str]) -> list[Group]:
    """The groups in the order in which they are tried; the last takes every module that is left.

    Raises ValueError for a text that no module's path contains.
    """
    if by == "task":
        return [Group(name=DEFAULT)]
    if by == "block":
        return [*_blocks(merge), Group(name=DEFAULT)]
    groups = [Group(name=text, filter=text) for text in by]
    for number, group in enumerate(groups):
        if number not in group_of_keys(merge.updates.keys, groups).values():
            raise ValueError(
                f"by={list(by)}: no module is left for {group.filter!r}; modules are, for example, "
                f"{', '.join(merge.updates.keys[:3])}"
            )
    return [*groups, Group(name=DEFAULT)]


def group_of_keys(keys: Sequence[str], groups: Sequence[Group]) -> dict[str, int]:
    """Module path -> number of the first group that fits it; modules that none fits are left out."""
    rules = [Rule((), one.filter, one.pattern) for one in groups]
    found: dict[str, int] = {}
    for key in keys:
        for number, rule in enumerate(rules):
            if rule.fits(key):
                found[key] = number
                break
    return found


def _blocks(merge: AdapterMerge) -> list[Group]:
    native = merge.host.require_native("a fit")
    blocks = find_blocks(name for name, _ in native.named_parameters(remove_duplicate=False))
    numbers = {blocks.number(f"{key}.weight") for key in merge.updates.keys}
    used = sorted(number for number in numbers if number is not None)
    if not used:
        raise ValueError("by='block': no module lies in a block of the model; take by='task'")
    return [
        Group(name=f"block {number}", pattern=rf"^{re.escape(blocks.prefix)}{number}\.")
        for number in used
    ]
