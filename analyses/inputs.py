"""What goes into an analysis: fingerprints of files, so that a run is found only for the same."""

from collections.abc import Iterable
from pathlib import Path

from lm_merge.models import HookedLM
from lm_merge.models.loading import resolve
from lm_merge.recipe import Recipe, Source, as_source
from lm_merge.records import fingerprint
from lm_merge.spaces import LatentMerge, LogitEnsemble


def fingerprints(recipe: Recipe, *files: Path | None) -> dict[str, str | None]:
    """Fingerprint of every model folder that a recipe names and of further files; None for hub names."""
    sources = [recipe.host, *recipe.donors, *([] if recipe.base is None else [recipe.base])]
    paths = [Path(resolve(as_source(source).model)) for source in sources]
    paths += [file for file in files if file is not None]
    return {str(path): fingerprint(path) for path in paths}


def models_of(merge: LatentMerge | LogitEnsemble) -> dict[str, str | None]:
    """Every model of a merge with the commit it came from: the hub's, or a fingerprint of files."""
    base = merge.base if isinstance(merge, LatentMerge) else None
    return origins_of([merge.host, *merge.donors, *([] if base is None else [base])])


def origins_of(models: Iterable[HookedLM]) -> dict[str, str | None]:
    """Source of each model -> the hub's commit that it came from, or a fingerprint of its files."""
    return {
        as_source(model.source).model: model.commit or origin_of_source(model.source)
        for model in models
    }


def origin_of_source(source: Source) -> str | None:
    """Fingerprint of a model's files; None for a hub name."""
    return fingerprint(Path(resolve(as_source(source).model)))
