"""Merges as data: sources, one class a space, read and written as YAML; see `recipe` for the design."""

from lm_merge.recipes.adapters import AdapterRecipe
from lm_merge.recipes.latents import LatentRecipe
from lm_merge.recipes.logits import LogitRecipe
from lm_merge.recipes.recipe import Recipe, Space, Tolerance
from lm_merge.recipes.sources import ModelSource, Source, as_source
from lm_merge.recipes.weights import WeightRecipe
from lm_merge.recipes.yaml_files import read_mapping, read_value

__all__ = [
    "AdapterRecipe",
    "LatentRecipe",
    "LogitRecipe",
    "ModelSource",
    "Recipe",
    "Source",
    "Space",
    "Tolerance",
    "WeightRecipe",
    "as_source",
    "read_mapping",
    "read_value",
]
