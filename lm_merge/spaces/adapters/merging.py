"""`merge_adapters`: from a recipe to a folder with the merged adapter, its report and its card."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from lm_merge.models import HookedLM
from lm_merge.models.adapters.adapter import WEIGHTS_FILE
from lm_merge.models.adapters.finding import find_adapter
from lm_merge.models.adapters.settings import CONFIG_FILE
from lm_merge.models.tokenizer_files import TOKENIZER_FILES
from lm_merge.recipes import AdapterRecipe, Recipe
from lm_merge.spaces.adapters.adapter_merge import AdapterMerge
from lm_merge.spaces.adapters.export import DELTA_FILE, Form, check_form, write_adapters
from lm_merge.spaces.adapters.report import (
    CARD_FILE,
    MADE_BY,
    RECIPE_FILE,
    REPORT_FILE,
    report_of,
    write_report,
)
from lm_merge.spaces.weights.execution import folder_when_done
from lm_merge.spaces.weights.folder import WRITTEN

OWN_FILES = {CONFIG_FILE, WEIGHTS_FILE, DELTA_FILE, REPORT_FILE, RECIPE_FILE, CARD_FILE}


def merge_adapters(
    recipe: str | Path | dict[str, Any] | Recipe,
    out: str | Path,
    form: Form = "lora",
    *,
    rank: int | None = None,
    max_error: float | None = None,
    overwrite: bool = False,
    device: str | torch.device | None = None,
    dtype: str | None = None,
    loaded: Iterable[HookedLM] = (),
) -> Path:
    """Merge adapters into a folder: a new adapter, its matrices, or a whole model.

    recipe: of space `adapters`; a file, a dict, or a Recipe.
    form: "lora" (exact, of the summed rank), "svd" (a LoRA of at most `rank`, or of the lowest rank
        within the relative error `max_error`), "delta" (full matrices), "model" (a checkpoint).
    overwrite: replace a folder that this function wrote.
    device, dtype, loaded: as in `compose`.

    The folder also holds `merge_report.json` (`AdapterReport`: method, coefficients, ranks, errors), the
    recipe and a card. It appears when all of it is written. Raises ValueError and OSError that say what
    to change, before anything is written where that can be known.

    >>> import tempfile
    >>> import lm_merge as lm
    >>> recipe = {"space": "adapters", "host": "tiny-instruct", "donors": ["sums", "differences"]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = lm.merge_adapters(recipe, f"{folder}/both")
    ...     print(sorted(path.name for path in out.iterdir())[:2])
    ...     lm.load("tiny-instruct", adapter=out)
    ['README.md', 'adapter_config.json']
    HookedLM('tiny-instruct+both', n_layers=8, d_model=128, d_vocab=512)
    """
    out, given = Path(out), adapter_recipe(recipe)
    check_form(form, rank, max_error)
    merge = _merge(given, device, dtype, loaded)
    if form == "lora":
        merge.updates.require_low_rank()
    check_output(out, merge, overwrite=overwrite)
    with folder_when_done(out) as folder:
        written = write_adapters(merge, folder, form, rank=rank, max_error=max_error)
        write_report(folder, report_of(merge, given, written, _version()), given)
    return out


def adapter_recipe(recipe: str | Path | dict[str, Any] | Recipe) -> AdapterRecipe:
    """A recipe, if it is one of adapters; ValueError otherwise."""
    given = Recipe.load(recipe)
    if not isinstance(given, AdapterRecipe):
        raise ValueError(
            f"space={given.space!r}: merging adapters needs a recipe with space 'adapters'"
        )
    return given


def base_of(adapter: str) -> str:
    """The base model that an adapter names; ValueError where it names none."""
    base = find_adapter(adapter).settings.base
    if base is None:
        raise ValueError(f"adapter {adapter!r} names no base model; give the host")
    return base


def check_output(out: Path, merge: AdapterMerge, *, overwrite: bool) -> None:
    """Raise OSError for a folder that is there and not to be replaced, or that is a source itself."""
    if not out.exists() and not out.is_symlink():
        return
    if not overwrite:
        raise FileExistsError(
            f"out={str(out)!r} is there already; give overwrite=True (--overwrite true) or another name"
        )
    if not out.is_dir() or out.is_symlink():
        raise FileExistsError(f"out={str(out)!r} is no folder; remove it, or pass another name")
    sources = [
        one.name for one in merge.adapters if one.folder.resolve().is_relative_to(out.resolve())
    ]
    if sources:
        raise FileExistsError(
            f"out={str(out)!r} is, or holds, adapter {sources[0]!r} of the recipe; pass another name"
        )
    if not written_by_a_merge(out):
        raise FileExistsError(
            f"out={str(out)!r} was not written by a merge of adapters alone, so it is not replaced; "
            "pass another name"
        )


def written_by_a_merge(folder: Path) -> bool:
    """Whether a folder holds a merge's report and only such files as a merge writes; or is empty."""
    names = {path.name for path in folder.iterdir()}
    if not names:
        return True
    known = {*OWN_FILES, "config.json", "generation_config.json", *TOKENIZER_FILES}
    strange = [name for name in names if name not in known and not WRITTEN.fullmatch(name)]
    card = folder / CARD_FILE
    made = card.is_file() and MADE_BY in card.read_text(encoding="utf-8", errors="replace")
    return REPORT_FILE in names and made and not strange


def _merge(
    recipe: AdapterRecipe,
    device: str | torch.device | None,
    dtype: str | None,
    loaded: Iterable[HookedLM],
) -> AdapterMerge:
    from lm_merge.spaces.compose import compose

    merge = compose(recipe, device=device, dtype=dtype, loaded=loaded)
    assert isinstance(merge, AdapterMerge)  # the space of the recipe
    return merge


def _version() -> str:
    try:
        return version("lm-merge")
    except PackageNotFoundError:  # run from a source tree
        return "from source"
