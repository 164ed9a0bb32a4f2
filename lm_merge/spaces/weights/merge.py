"""`merge_weights`: from a recipe to a checkpoint folder."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from lm_merge.models.model_class import check_whole
from lm_merge.operators.weight_methods import get_weight_method
from lm_merge.recipes import ModelSource, Recipe, WeightRecipe
from lm_merge.recipes.describe import describe
from lm_merge.recipes.weight_description import Compat
from lm_merge.spaces.weights.adapted import with_updates
from lm_merge.spaces.weights.checkpoint import Checkpoint, open_checkpoint
from lm_merge.spaces.weights.execution import check_output, folder_when_done, write_tensors
from lm_merge.spaces.weights.folder import output_config, write_small_files
from lm_merge.spaces.weights.plan import Plan, TensorPlan
from lm_merge.spaces.weights.planning import make_plan
from lm_merge.spaces.weights.sources import local_folder
from lm_merge.spaces.weights.statistics import Statistics, record_statistics
from lm_merge.spaces.weights.tensor_merge import Setting, merge_tensor

SHARD_BYTES = 5 * 10**9


def merge_weights(
    recipe: str | Path | dict[str, Any] | Recipe,
    out: str | Path,
    *,
    overwrite: bool = False,
    compat: Compat | None = None,
    shard_size: int = SHARD_BYTES,
    threads: int | None = None,
    allow_pickle: bool = False,
    prompts: str | Path | Sequence[str] | None = None,
    done: Callable[[Plan, TensorPlan], None] | None = None,
) -> Path:
    """Merge checkpoints tensor by tensor into a folder that loads with `load` and transformers.

    recipe: with `space: weights` (see `recipes.describe` for what alpha means), or in the common
        subset of mergekit's format; a file, a dict, or a Recipe.
    overwrite: replace a checkpoint that is there. compat="mergekit": equal to mergekit 0.1.5 where it
        differs from us (its slerp, karcher without weights, the scale of random masks).
    shard_size: bytes a file at most.
    threads: tensors at a time; the cores unless given. allow_pickle: read .bin files, too.
    prompts: data of regmean and fisher, a text file with one a line, or the prompts themselves; the
        recipe's `data` unless given.
    done: called after each tensor, from any thread; for progress.

    All is checked before anything is written: keys, models, shapes, vocabularies, disk space. Values
    are computed in float32. A crash leaves no half checkpoint. Raises ValueError or OSError
    that say what to change.

    >>> import tempfile
    >>> import lm_merge as lm
    >>> recipe = {"space": "weights", "host": "tiny-instruct", "donors": ["tiny-thinker"]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = lm.merge_weights({**recipe, "operator": "slerp", "alpha": 0.5}, f"{folder}/half")
    ...     lm.load(out)
    HookedLM('half', n_layers=8, d_model=128, d_vocab=512)
    """
    if shard_size <= 0 or (threads is not None and threads <= 0):
        raise ValueError(f"shard_size={shard_size} and threads={threads} must be above 0")
    plan, out = (
        make_weight_plan(recipe, compat=compat, allow_pickle=allow_pickle, prompts=prompts),
        Path(out),
    )
    output_config(plan)  # refuses what it cannot write before anything is written
    check_output(out, plan, overwrite=overwrite)
    with folder_when_done(out) as folder, _statistics(plan, out) as statistics:
        notes = write_tensors(
            plan,
            folder,
            shard_size=shard_size,
            threads=threads or _n_cores(),
            statistics=statistics,
            done=lambda tensor: done(plan, tensor) if done is not None else None,
        )
        write_small_files(plan, folder, notes, _version())
        if (
            plan.block_origins is not None
        ):  # other blocks than the host's: does the class take them?
            shapes = {one.name: one.shape for one in plan.tensors}
            check_whole(folder, str(out), output_config(plan), shapes)
    return out


def merge_in_memory(
    recipe: str | Path | dict[str, Any] | Recipe,
    *,
    prompts: str | Path | Sequence[str] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Any], tuple[str, ...]]:
    """The tensors that `merge_weights` would write, the configuration, and the notes.

    For a merge that is measured and not kept: nothing is written, except statistics of data. The
    sources are mapped from their files, so that memory is that of the output.
    """
    plan = make_weight_plan(recipe, prompts=prompts)
    merged = {one.name: torch.empty(one.n_values, dtype=one.dtype) for one in plan.tensors}
    notes = list(plan.notes)
    with TemporaryDirectory() as scratch, _statistics(plan, Path(scratch) / "out") as statistics:
        setting = Setting(plan.description.seed, plan.description.compat, statistics)
        for one in plan.tensors:
            note = merge_tensor(one, partial(_keep, merged[one.name]), setting)
            notes += [] if note is None else [note]
    shaped = {one.name: merged[one.name].view(one.shape) for one in plan.tensors}
    return shaped, output_config(plan), tuple(notes)


def _keep(out: Tensor, values: Tensor, first: int) -> None:
    out[first : first + values.numel()] = values.reshape(-1)


def make_weight_plan(
    recipe: str | Path | dict[str, Any] | Recipe,
    *,
    compat: Compat | None = None,
    allow_pickle: bool = False,
    prompts: str | Path | Sequence[str] | None = None,
) -> Plan:
    """All that `merge_weights` would do, checked, with nothing read but headers and small files."""
    given = Recipe.load(recipe)
    if not isinstance(given, WeightRecipe):
        raise ValueError(
            f"space={given.space!r}: merging weights needs a recipe with space 'weights'"
        )
    description = describe(given, compat, prompts)
    folders = {
        model: local_folder(model, allow_pickle=allow_pickle) for model in description.models
    }
    checkpoints = {
        model: _opened(model, folder, allow_pickle=allow_pickle)
        for model, folder in folders.items()
    }
    return make_plan(description, checkpoints)


def _opened(model: ModelSource, folder: Path, *, allow_pickle: bool) -> Checkpoint:
    opened = open_checkpoint(folder, _label(model), allow_pickle=allow_pickle)
    return opened if model.adapter is None else with_updates(opened, model.adapter)


def _label(model: ModelSource) -> str:
    label = model.model if model.revision is None else f"{model.model}@{model.revision}"
    return label if model.adapter is None else f"{label}+{model.adapter}"


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # the cores this process may use; not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _statistics(plan: Plan, out: Path) -> Iterator[Statistics]:
    kind = get_weight_method(plan.description.method).statistics
    if kind is None:
        yield {}
        return
    models = list({one.model.name: one.model for t in plan.tensors for one in t.inputs}.values())
    tokenizer, prompts = plan.tokenizer_owner.folder, plan.description.prompts
    with TemporaryDirectory(prefix=f".{out.name}-", dir=out.absolute().parent) as scratch:
        yield record_statistics(kind, models, tokenizer, prompts, Path(scratch))


def _version() -> str:
    try:
        return version("lm-merge")
    except PackageNotFoundError:  # run from a source tree
        return "from source"
