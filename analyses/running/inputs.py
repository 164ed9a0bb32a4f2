"""What goes into an analysis: fingerprints of its files, and the models that its record names."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from analyses.running.recipe_words import source_name
from lm_merge.models import HookedLM
from lm_merge.models.loading import resolve
from lm_merge.recipes import Recipe, Source, as_source
from lm_merge.runs.identity import fingerprint, hub_commit
from lm_merge.runs.record import Run
from lm_merge.scoring.compositions import Compositions
from lm_merge.spaces import LatentMerge, LogitEnsemble


def fingerprints(recipe: Recipe, *files: Path | None) -> dict[str, str | None]:
    """`origin_of_source` of every model that a recipe names, and fingerprints of further files."""
    return fingerprints_of(recipe.sources, *files)


def fingerprints_of(sources: Iterable[Source], *files: Path | None) -> dict[str, str | None]:
    """`origin_of_source` of every model, and the fingerprint of every file."""
    found: dict[str, str | None] = {}
    for source in map(as_source, sources):
        folder = resolve(source.model)
        name = source_name(source.model_copy(update={"model": str(Path(folder))}))
        found[name] = origin_of_source(source)
    return found | {str(file): fingerprint(file) for file in files if file is not None}


def origins_of(models: Iterable[HookedLM | Source]) -> dict[str, str | None]:
    """`source_name` of each model -> the hub's commit it came from, or a fingerprint of its files."""
    found: dict[str, str | None] = {}
    for model in models:
        source = model.source if isinstance(model, HookedLM) else model
        commit = model.commit if isinstance(model, HookedLM) else None
        found[source_name(source)] = commit or origin_of_source(source)
    return found


def origin_of_source(source: Source) -> str | None:
    """Fingerprint of a model's files, or the commit of a hub name; None where neither is known."""
    given = as_source(source)
    folder = resolve(given.model)
    return fingerprint(Path(folder)) or hub_commit(folder, given.revision)


def models_in(measured: Compositions | LatentMerge | LogitEnsemble | HookedLM) -> list:
    """The models of what is measured; the sources of those that were not loaded."""
    if isinstance(measured, Compositions):
        return [*measured.models]
    if isinstance(measured, HookedLM):
        return [measured]
    base = measured.base if isinstance(measured, LatentMerge) else None
    return [measured.host, *measured.donors, *([] if base is None else [base])]


def note_models(
    record: Run | None,
    measured: Compositions | LatentMerge | LogitEnsemble | HookedLM,
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
