"""Models: loading them in two views of one set of weights, and checking that two fit together.

A name is imported when it is first used: what reads files and configurations needs no model class.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm_merge.models.budget import MergeBudget, merge_budget
    from lm_merge.models.hooked_lm import HookedLM
    from lm_merge.models.loading import load, wrap
    from lm_merge.models.pair import IncompatibleModels, PairNotice, check_pair, check_vocabulary

__all__ = [
    "HookedLM",
    "IncompatibleModels",
    "MergeBudget",
    "PairNotice",
    "check_pair",
    "check_vocabulary",
    "load",
    "merge_budget",
    "wrap",
]

_MODULE = {
    "HookedLM": "hooked_lm",
    "IncompatibleModels": "pair",
    "MergeBudget": "budget",
    "PairNotice": "pair",
    "check_pair": "pair",
    "check_vocabulary": "pair",
    "load": "loading",
    "merge_budget": "budget",
    "wrap": "loading",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE:
        raise AttributeError(f"module 'lm_merge.models' has no attribute {name!r}")
    value = getattr(import_module(f"lm_merge.models.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
