"""Spaces: where a merge happens. One context manager and one compatibility check each.

A name is imported when it is first used: merging weights needs no model code. `compose` has the name
of its module and is imported from there.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm_merge.spaces.adapters import AdapterMerge
    from lm_merge.spaces.compose import system
    from lm_merge.spaces.composed import Composed
    from lm_merge.spaces.latents import LatentMerge
    from lm_merge.spaces.logits import LogitEnsemble
    from lm_merge.spaces.non_finite import NonFiniteMerge
    from lm_merge.spaces.steering import steered

__all__ = [
    "AdapterMerge",
    "Composed",
    "LatentMerge",
    "LogitEnsemble",
    "NonFiniteMerge",
    "steered",
    "system",
]

_MODULE = {
    "AdapterMerge": "adapters",
    "Composed": "composed",
    "LatentMerge": "latents",
    "LogitEnsemble": "logits",
    "NonFiniteMerge": "non_finite",
    "steered": "steering",
    "system": "compose",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE:
        raise AttributeError(f"module 'lm_merge.spaces' has no attribute {name!r}")
    value = getattr(import_module(f"lm_merge.spaces.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
