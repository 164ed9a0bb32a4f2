"""Merging parameter tensors once, offline, from checkpoint to checkpoint."""

from lm_merge.spaces.weights.merge import make_weight_plan, merge_in_memory, merge_weights

__all__ = ["make_weight_plan", "merge_in_memory", "merge_weights"]
