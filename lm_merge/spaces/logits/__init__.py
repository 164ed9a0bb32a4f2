"""Merging next-token distributions at every step."""

from lm_merge.spaces.logits.logit_ensemble import (
    LogitEnsemble,
    ensemble_weights,
    weights_from_alpha,
)

__all__ = ["LogitEnsemble", "ensemble_weights", "weights_from_alpha"]
