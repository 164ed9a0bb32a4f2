"""The systems of an evaluation: base, each expert, and the merge, over one copy of the weights."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from analyses.adapters.config import TaskOptions
from lm_merge.models import HookedLM, load
from lm_merge.models.adapters.settings import CONFIG_FILE
from lm_merge.models.hooked_lm import from_native
from lm_merge.models.weight_sharing import weight_sharing_copy
from lm_merge.recipes import AdapterRecipe, ModelSource, Recipe, as_source
from lm_merge.spaces import Composed
from lm_merge.spaces.adapters import AdapterMerge
from lm_merge.spaces.adapters.attached import merged_weight
from lm_merge.spaces.adapters.donors import merge_of
from lm_merge.spaces.adapters.export import DELTA_FILE
from lm_merge.spaces.source_loader import SourceLoader


def base_of(config: TaskOptions) -> HookedLM:
    """The base model, kept from one trial to the next where a search has a budget for it."""
    return SourceLoader(config.device, config.dtype)(config.recipe.host)


def base_source(config: TaskOptions) -> ModelSource:
    """The base as records name it."""
    return as_source(config.recipe.host)


def expert_recipe(config: TaskOptions, name: str) -> AdapterRecipe:
    """One adapter alone, with coefficient 1."""
    recipe = adapter_recipe(config.recipe)
    donor = recipe.donors[config.donor_names.index(name)]
    alone = AdapterRecipe(host=recipe.host, donors=(donor,), adapters_file=recipe.adapters_file)
    return alone


def adapter_recipe(recipe: Recipe) -> AdapterRecipe:
    """The recipe as that of its space."""
    assert isinstance(recipe, AdapterRecipe)  # checked by the configuration
    return recipe


def merge_for(recipe: Recipe, base: HookedLM) -> AdapterMerge:
    """The merge of a recipe on a base that is loaded."""
    return merge_of(adapter_recipe(recipe), base)


def saved_system(folder: Path, base: HookedLM) -> Composed:
    """A merge that was written: an adapter, matrices of updates, or a whole model.

    Raises ValueError for a folder that is none of these.
    """
    if (folder / CONFIG_FILE).is_file():
        return AdapterMerge(base, [folder])
    if (folder / DELTA_FILE).is_file():
        return _with_matrices(base, folder)
    if (folder / "config.json").is_file():
        return load(str(folder), device=str(base.device))
    raise ValueError(
        f"saved={str(folder)!r} is no merge that was written: it has neither {CONFIG_FILE} nor "
        f"{DELTA_FILE} nor config.json"
    )


def _with_matrices(base: HookedLM, folder: Path) -> HookedLM:
    """The base with full update matrices in a copy of the weights that they touch."""
    native: Any = weight_sharing_copy(base.require_native("a saved merge"))
    for name, update in load_file(folder / DELTA_FILE).items():
        module = native.get_submodule(name.removesuffix(".weight"))
        weight = merged_weight(module, update)
        module._parameters["weight"] = nn.Parameter(weight, requires_grad=False)
    model = from_native(native, base.tokenizer, folder.name, str(folder))
    model.in_memory_only = True
    return model
