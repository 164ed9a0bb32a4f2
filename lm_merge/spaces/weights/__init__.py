"""Merging parameter tensors once, offline, from checkpoint to checkpoint."""

from lm_merge.spaces.weights.merge import in_mergekit_format, make_weight_plan, merge_weights

__all__ = ["in_mergekit_format", "make_weight_plan", "merge_weights"]
