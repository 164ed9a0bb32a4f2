"""Spaces: where a merge happens. One context manager and one compatibility check each."""

from lm_merge.spaces.compose import compose
from lm_merge.spaces.latent_pass import NonFiniteMerge
from lm_merge.spaces.latents import LatentMerge
from lm_merge.spaces.steering import steered

__all__ = ["LatentMerge", "NonFiniteMerge", "compose", "steered"]
