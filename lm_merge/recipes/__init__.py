"""Merges as data: sources, one model a space, read and written as YAML."""

from lm_merge.recipes.recipe import ModelSource, Recipe, Source, Space, Tolerance, as_source

__all__ = ["ModelSource", "Recipe", "Source", "Space", "Tolerance", "as_source"]
