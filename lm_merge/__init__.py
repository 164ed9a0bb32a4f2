"""Compose language models in their representations and see what the composition did.

A name is imported when it is first used, so that a command that needs little starts fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from lm_merge.threads import wait_passively

if TYPE_CHECKING:
    from lm_merge import evaluation, metrics
    from lm_merge.coefficients import AgreementGate, ConfidenceGate, ScheduleGate
    from lm_merge.models import HookedLM, IncompatibleModels, PairNotice, load, merge_budget, wrap
    from lm_merge.models.classifier import load_classifier
    from lm_merge.operators import OPERATORS, Steering
    from lm_merge.recipes import Recipe
    from lm_merge.spaces import AdapterMerge, LatentMerge, LogitEnsemble, NonFiniteMerge, steered
    from lm_merge.spaces.adapters.merging import merge_adapters
    from lm_merge.spaces.compose import compose
    from lm_merge.spaces.label_votes import LabelVotes
    from lm_merge.spaces.weights import merge_weights

__all__ = [
    "OPERATORS",
    "AdapterMerge",
    "AgreementGate",
    "ConfidenceGate",
    "HookedLM",
    "IncompatibleModels",
    "LabelVotes",
    "LatentMerge",
    "LogitEnsemble",
    "NonFiniteMerge",
    "PairNotice",
    "Recipe",
    "ScheduleGate",
    "Steering",
    "compose",
    "evaluation",
    "load",
    "load_classifier",
    "merge_adapters",
    "merge_budget",
    "merge_weights",
    "metrics",
    "steered",
    "wrap",
]
__version__ = "0.1.0"
wait_passively()

_MODULE = {  # name -> where it lives; the block above says the same to type checkers
    "OPERATORS": "operators",
    "AdapterMerge": "spaces.adapters",
    "AgreementGate": "coefficients",
    "ConfidenceGate": "coefficients",
    "HookedLM": "models",
    "IncompatibleModels": "models",
    "LabelVotes": "spaces.label_votes",
    "LatentMerge": "spaces.latents",
    "LogitEnsemble": "spaces.logits",
    "NonFiniteMerge": "spaces.non_finite",
    "PairNotice": "models",
    "Recipe": "recipes",
    "ScheduleGate": "coefficients",
    "Steering": "operators",
    "compose": "spaces.compose",
    "load": "models",
    "load_classifier": "models.classifier",
    "merge_adapters": "spaces.adapters.merging",
    "merge_budget": "models",
    "merge_weights": "spaces.weights",
    "steered": "spaces.steering",
    "wrap": "models",
}


def __getattr__(name: str) -> object:
    if name in ("evaluation", "metrics"):
        return import_module(f"lm_merge.{name}")
    if name not in _MODULE:
        raise AttributeError(f"module 'lm_merge' has no attribute {name!r}")
    value = getattr(import_module(f"lm_merge.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
