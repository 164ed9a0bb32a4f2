"""Models: loading them in two views of one set of weights, and checking that two fit together."""

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
