"""What goes into an analysis: fingerprints of its files, and the models that its record names."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from analyses.running.recipe_words import source_name
from lm_merge.models import HookedLM
from lm_merge.models.adapters import Adapter
from lm_merge.models.adapters.finding import adapter_folder
from lm_merge.models.loading import resolve
from lm_merge.recipes import AdapterRecipe, Recipe, Source, as_source
from lm_merge.recipes.recipe import is_recipe_file
from lm_merge.recipes.similarity import SimilarityCoefficients
from lm_merge.runs.identity import fingerprint, hub_commit
from lm_merge.runs.record import Run
from lm_merge.scoring.compositions import Compositions
from lm_merge.spaces import AdapterMerge, LatentMerge, LogitEnsemble


def fingerprints(recipe: Recipe, *files: Path | None) -> dict[str, str | None]:
    """`origin_of_source` of every model that a recipe names, and fingerprints of further files.

    Of a recipe of adapters: of the base, of every adapter, and of the files that it reads.
    """
    found = fingerprints_of(recipe.sources, *files)
    return found | (_of_adapters(recipe) if isinstance(recipe, AdapterRecipe) else {})


def _of_adapters(recipe: AdapterRecipe) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for donor in map(as_source, recipe.donors):
        if is_recipe_file(donor.model):
            found |= fingerprints(Recipe.load(donor.model), Path(donor.model))
        else:
            found[source_name(donor)] = origin_of_adapter(donor, recipe.adapters_file)
    table = recipe.coefficients
    if isinstance(table, SimilarityCoefficients):
        table = table.similarity
    return found | ({table: fingerprint(Path(table))} if isinstance(table, str) else {})


def origin_of_adapter(source: Source, names: str | None = None) -> str | None:
    """Fingerprint of an adapter's files; those of the hub are fetched first."""
    given = as_source(source)
    return fingerprint(adapter_folder(given.model, given.revision, names))


def fingerprints_of(sources: Iterable[Source], *files: Path | None) -> dict[str, str | None]:
    """`origin_of_source` of every model, and the fingerprint of every file."""
    found: dict[str, str | None] = {}
    for source in map(as_source, sources):
        folder = resolve(source.model)
        name = source_name(source.model_copy(update={"model": str(Path(folder))}))
        found[name] = origin_of_source(source)
        if source.adapter is not None:
            found[source.adapter] = origin_of_adapter(source.adapter)
    return found | {str(file): fingerprint(file) for file in files if file is not None}


def origins_of(models: Iterable[HookedLM | Adapter | Source]) -> dict[str, str | None]:
    """`source_name` of each model -> the hub's commit it came from, or a fingerprint of its files."""
    found: dict[str, str | None] = {}
    for model in models:
        if isinstance(model, Adapter):
            found[model.name] = fingerprint(model.folder)
            continue
        source = model.source if isinstance(model, HookedLM) else model
        commit = model.commit if isinstance(model, HookedLM) else None
        found[source_name(source)] = commit or origin_of_source(source)
        adapter = as_source(source).adapter
        if adapter is not None:
            found[adapter] = origin_of_adapter(adapter)
    return found


def origin_of_source(source: Source) -> str | None:
    """Fingerprint of a model's files, or the commit of a hub name; None where neither is known."""
    given = as_source(source)
    folder = resolve(given.model)
    return fingerprint(Path(folder)) or hub_commit(folder, given.revision)


Measured = Compositions | LatentMerge | LogitEnsemble | AdapterMerge | HookedLM


def models_in(measured: Measured) -> list:
    """The models of what is measured; the sources of those that were not loaded."""
    if isinstance(measured, Compositions):
        return [*measured.models]
    if isinstance(measured, HookedLM):
        return [measured]
    base = measured.base if isinstance(measured, LatentMerge) else None
    return [measured.host, *measured.donors, *([] if base is None else [base])]


def note_models(
    record: Run | None,
    measured: Measured,
    *,
    seeds: Sequence[int] = (),
    notes: Sequence[str] = (),
) -> None:
    """Put into a record what was measured: models, device, dtype, seeds and notes.

    notes: further ones, after those of the check of the models. Without a record: nothing.
    """
    if record is None:
        return
    own = () if isinstance(measured, HookedLM) else measured.notes
    record.update(
        device=str(measured.host.device),
        dtype=str(measured.host.dtype).removeprefix("torch."),
        models=origins_of(models_in(measured)),
        seeds=tuple(seeds),
        notes=(*own, *notes),
    )
