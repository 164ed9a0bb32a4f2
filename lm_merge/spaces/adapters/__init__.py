"""Merging LoRA updates of one base model, in memory and reversibly."""

from lm_merge.spaces.adapters.adapter_merge import AdapterMerge

__all__ = ["AdapterMerge"]
