"""Merging the residual stream in every forward pass."""

from lm_merge.spaces.latents.latent_merge import LatentMerge, checked_settings
from lm_merge.spaces.non_finite import NonFiniteMerge

__all__ = ["LatentMerge", "NonFiniteMerge", "checked_settings"]
