"""What goes into an analysis: fingerprints of files, so that a run is found only for the same."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from lm_merge.models import HookedLM
from lm_merge.models.loading import resolve
from lm_merge.recipes import Recipe, Source, as_source
from lm_merge.runs.identity import fingerprint, hub_commit
from lm_merge.runs.record import Run
from lm_merge.spaces import LatentMerge, LogitEnsemble


class Measured(Protocol):
    """Whatever says itself which models it is made of, as `analyses.compositions` does."""

    @property
    def host(self) -> HookedLM: ...

    @property
    def models(self) -> dict[str, str | None]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...


def source_name(source: Source) -> str:
    """The model's name; `model@revision` where a revision is given, which is another model."""
    given = as_source(source)
    return given.model if given.revision is None else f"{given.model}@{given.revision}"


def recipe_sources(recipe: Recipe) -> tuple[Source, ...]:
    """Every model that a recipe names: host, donors, ancestor."""
    return (recipe.host, *recipe.donors, *(() if recipe.base is None else (recipe.base,)))


def fingerprints(recipe: Recipe, *files: Path | None) -> dict[str, str | None]:
    """`origin_of_source` of every model that a recipe names, and fingerprints of further files."""
    return fingerprints_of(recipe_sources(recipe), *files)


def fingerprints_of(sources: Iterable[Source], *files: Path | None) -> dict[str, str | None]:
    """`origin_of_source` of every model, and the fingerprint of every file."""
    found: dict[str, str | None] = {}
    for source in map(as_source, sources):
        folder = resolve(source.model)
        name = source_name(source.model_copy(update={"model": str(Path(folder))}))
        found[name] = origin_of_source(source)
    return found | {str(file): fingerprint(file) for file in files if file is not None}


def models_of(merge: LatentMerge | LogitEnsemble) -> dict[str, str | None]:
    """Every model of a merge with the commit it came from: the hub's, or a fingerprint of files."""
    base = merge.base if isinstance(merge, LatentMerge) else None
    return origins_of([merge.host, *merge.donors, *([] if base is None else [base])])


def origins_of(models: Iterable[HookedLM]) -> dict[str, str | None]:
    """`source_name` of each model -> the hub's commit it came from, or a fingerprint of its files."""
    return {
        source_name(model.source): model.commit or origin_of_source(model.source)
        for model in models
    }


def origin_of_source(source: Source) -> str | None:
    """Fingerprint of a model's files, or the commit of a hub name; None where neither is known."""
    given = as_source(source)
    folder = resolve(given.model)
    return fingerprint(Path(folder)) or hub_commit(folder, given.revision)


def note_models(
    record: Run | None,
    measured: Measured | LatentMerge | LogitEnsemble | HookedLM,
    *,
    seeds: Sequence[int] = (),
    notes: Sequence[str] = (),
) -> None:
    """Put into a record what was measured: models, device, dtype, seeds and notes.

    notes: further ones, behind what the check of the models noted. Without a record: nothing.
    """
    if record is None:
        return
    own: tuple[str, ...] = ()
    if isinstance(measured, HookedLM):
        models = origins_of([measured])
    else:
        merged = isinstance(measured, LatentMerge | LogitEnsemble)
        models = models_of(measured) if merged else measured.models
        own = measured.notes
    record.update(
        device=str(measured.host.device),
        dtype=str(measured.host.dtype).removeprefix("torch."),
        models=models,
        seeds=tuple(seeds),
        notes=(*own, *notes),
    )
