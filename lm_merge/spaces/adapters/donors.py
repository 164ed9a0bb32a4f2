"""The donors of a recipe of adapters: adapters by name, and merges of adapters by their recipe."""

from collections.abc import Sequence
from pathlib import Path

from lm_merge.coefficients.coefficient_file import CoefficientFile
from lm_merge.models import HookedLM
from lm_merge.models.adapters import Adapter
from lm_merge.models.adapters.finding import find_adapter
from lm_merge.models.adapters.settings import AdapterSettings
from lm_merge.recipes import AdapterRecipe, Recipe, Source, as_source
from lm_merge.recipes.recipe import is_recipe_file
from lm_merge.runs.identity import fingerprint
from lm_merge.spaces.adapters.adapter_merge import AdapterMerge
from lm_merge.spaces.adapters.recipe_coefficients import merge_arguments


def adapters_of(
    recipe: AdapterRecipe, host: HookedLM, within: tuple[Path, ...] = ()
) -> list[Adapter]:
    """The adapters that a recipe names; a donor that is a recipe is merged first.

    within: files of the recipes that lead here, so that one that contains itself is refused. Raises
    OSError and ValueError that name the donor.
    """
    return [_adapter(source, recipe, host, within) for source in recipe.donors]


def merge_of(recipe: AdapterRecipe, host: HookedLM, within: tuple[Path, ...] = ()) -> AdapterMerge:
    """The merge that a recipe describes, on a host that is loaded."""
    adapters = adapters_of(recipe, host, within)
    _check_fingerprints(recipe, adapters)
    return AdapterMerge(host, adapters, **merge_arguments(recipe, [one.name for one in adapters]))


def as_adapter(merge: AdapterMerge, name: str, source: Source | None = None) -> Adapter:
    """A merge that is low rank as one adapter, exactly: its factors stacked.

    Raises ValueError for a method whose result is a full matrix.
    """
    deltas = {key: merge.updates.low_rank(key) for key in merge.updates.keys}
    own = [one.settings for one in merge.adapters]
    rank = max(delta.rank for delta in deltas.values())
    settings = AdapterSettings(
        r=max(rank, 1),
        lora_alpha=float(max(rank, 1)),
        fan_in_fan_out=any(one.fan_in_fan_out for one in own),
        modules_to_save=_all_of([one.modules_to_save for one in own]),
        base=own[0].base,
        revision=own[0].revision,
    )
    folder = merge.adapters[0].folder
    return Adapter(name, folder, settings, deltas, merge.head_values(), {}, source)


def _adapter(
    source: Source, recipe: AdapterRecipe, host: HookedLM, within: tuple[Path, ...]
) -> Adapter:
    name = as_source(source).model
    if not is_recipe_file(name):
        return find_adapter(source, recipe.adapters_file)
    file = Path(name).resolve()
    if file in within:
        raise ValueError(f"donor {name!r} contains itself: a recipe cannot be its own donor")
    inner = Recipe.load(name)
    if not isinstance(inner, AdapterRecipe):
        raise ValueError(
            f"donor {name!r} is a recipe of space {inner.space!r}; a donor of an adapter merge is an "
            "adapter, or a recipe of space 'adapters'"
        )
    if as_source(inner.host) != as_source(recipe.host):
        raise ValueError(
            f"donor {name!r} merges adapters of {as_source(inner.host).model!r}, this recipe's host is "
            f"{as_source(recipe.host).model!r}; both need the same base"
        )
    merge = merge_of(inner, host, (*within, file))
    try:
        return as_adapter(merge, Path(name).stem, source)
    except ValueError as error:
        raise ValueError(f"donor {name!r} cannot be a donor as it is: {error}") from error


def _check_fingerprints(recipe: AdapterRecipe, adapters: Sequence[Adapter]) -> None:
    """Raise ValueError where a coefficient file was made for other files of an adapter."""
    if not isinstance(recipe.coefficients, str):
        return
    known = {one.name: one.fingerprint for one in CoefficientFile.load(recipe.coefficients).sources}
    for adapter, donor in zip(adapters, recipe.donors, strict=True):
        wanted = known.get(adapter.name)
        if wanted is None or is_recipe_file(as_source(donor).model):
            continue
        if fingerprint(adapter.folder) != wanted:
            raise ValueError(
                f"the coefficient file {recipe.coefficients} was made for other files of adapter "
                f"{adapter.name!r} than those in {adapter.folder}; fit or search again"
            )


def _all_of(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for names in lists for one in names))
