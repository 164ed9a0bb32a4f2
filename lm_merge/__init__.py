"""Compose language models in their representations and see what the composition did."""

from lm_merge import evaluation, metrics
from lm_merge.coefficients import AgreementGate, ConfidenceGate, ScheduleGate
from lm_merge.models import HookedLM, IncompatibleModels, PairNotice, load, wrap
from lm_merge.operators import OPERATORS, Steering
from lm_merge.recipe import Recipe
from lm_merge.spaces import LatentMerge, NonFiniteMerge, compose, steered

__all__ = [
    "OPERATORS",
    "AgreementGate",
    "ConfidenceGate",
    "HookedLM",
    "IncompatibleModels",
    "LatentMerge",
    "NonFiniteMerge",
    "PairNotice",
    "Recipe",
    "ScheduleGate",
    "Steering",
    "compose",
    "evaluation",
    "load",
    "metrics",
    "steered",
    "wrap",
]
__version__ = "0.1.0"
