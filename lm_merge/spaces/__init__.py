"""Spaces: where a merge happens. One context manager and one compatibility check each."""

from lm_merge.spaces.compose import compose
from lm_merge.spaces.latent_pass import NonFiniteMerge
from lm_merge.spaces.latents import LatentMerge

__all__ = ["LatentMerge", "NonFiniteMerge", "compose"]
