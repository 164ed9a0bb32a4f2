"""Writing merged adapters: as a LoRA that PEFT loads, as matrices, or as a whole model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lm_merge.models.adapters.adapter import EMBEDDING, LINEAR, PREFIX, WEIGHTS_FILE
from lm_merge.models.adapters.settings import CONFIG_FILE
from lm_merge.operators.low_rank import LowRank, recompress
from lm_merge.spaces.adapters.adapter_merge import AdapterMerge

Form = Literal["lora", "svd", "delta", "model"]
DELTA_FILE = "delta.safetensors"


@dataclass(frozen=True)
class Written:
    """What was written.

    relative_errors: module path -> Frobenius norm of (written - merged) over that of merged; 0 for exact
    forms. ranks: module path -> rank, for the forms that are LoRA adapters.
    """

    folder: Path
    form: str
    relative_errors: Mapping[str, float]
    ranks: Mapping[str, int]

    @property
    def worst_error(self) -> float:
        """The largest relative error of a module."""
        return max(self.relative_errors.values(), default=0.0)


def write_adapters(
    merge: AdapterMerge,
    folder: Path,
    form: str = "lora",
    *,
    rank: int | None = None,
    max_error: float | None = None,
) -> Written:
    """Write a merge into a folder that exists and is empty.

    lora: a LoRA adapter, exact; the rank of a module is the sum of its sources'. svd: a LoRA adapter of
    at most `rank`, or of the lowest rank within a relative error. delta: full update matrices, named
    `<module>.weight`, in delta.safetensors. model: the base's checkpoint with the updates in its
    weights. Raises ValueError for an unknown form, and for one that the method's result does not have.
    """
    check_form(form, rank, max_error)
    if form == "model":
        return _write_model(merge, folder)
    if form == "delta":
        return _write_delta(merge, folder)
    errors: dict[str, float] = {}
    updates: dict[str, LowRank] = {}
    for key in merge.updates.keys:
        update, errors[key] = _small(merge, key, form, rank, max_error)
        if update.rank:
            updates[key] = update
    if not updates:
        raise ValueError("every coefficient is 0: there is no update to write")
    _write_lora(merge, folder, updates)
    ranks = {key: update.rank for key, update in updates.items()}
    return Written(folder, form, errors, ranks)


def check_form(form: str, rank: int | None, max_error: float | None) -> None:
    """Raise ValueError for an unknown form, and for a bound that it needs or does not take."""
    if form not in get_args(Form):
        raise ValueError(f"form={form!r} is unknown; choose from {', '.join(get_args(Form))}")
    given = rank is not None or max_error is not None
    if form == "svd" and not given:
        raise ValueError("form='svd' needs rank or max_error")
    if form != "svd" and given:
        raise ValueError(f"form={form!r} is not compressed; rank and max_error are for form 'svd'")


def _small(
    merge: AdapterMerge, key: str, form: str, rank: int | None, max_error: float | None
) -> tuple[LowRank, float]:
    """A module's update as factors, and their relative error."""
    if form == "lora":
        return merge.updates.low_rank(key), 0.0
    if merge.updates.is_low_rank:
        matrix = merge.updates.low_rank(key)
    else:
        dense = merge.updates.dense(key)
        matrix = LowRank(dense, torch.eye(len(dense), dtype=dense.dtype))
    if matrix.rank == 0:
        return matrix, 0.0
    found = recompress(matrix, rank=rank, max_error=max_error)
    return found.matrix, found.relative_error


def _write_lora(merge: AdapterMerge, folder: Path, updates: Mapping[str, LowRank]) -> None:
    tensors: dict[str, Tensor] = {}
    for key, update in updates.items():
        embedding = isinstance(merge.module(key), nn.Embedding)
        first, second = EMBEDDING if embedding else LINEAR
        tensors[f"{PREFIX}{key}{first}"] = update.a.contiguous()
        tensors[f"{PREFIX}{key}{second}"] = (update.scale * update.b).contiguous()
    for key, head in merge.head_values().items():
        tensors[f"{PREFIX}{key}"] = head.contiguous()
    save_file(tensors, folder / WEIGHTS_FILE, {"format": "pt"})
    config = lora_config(merge, {key: update.rank for key, update in updates.items()})
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def lora_config(merge: AdapterMerge, ranks: Mapping[str, int]) -> dict[str, Any]:
    """PEFT's configuration of an adapter whose modules each have a rank of their own and scale 1."""
    first = merge.adapters[0].settings
    orientations = {one.settings.fan_in_fan_out for one in merge.adapters}
    usual = max(set(ranks.values()), key=list(ranks.values()).count)
    others = {key: rank for key, rank in ranks.items() if rank != usual}
    saved = sorted({name for one in merge.adapters for name in one.settings.modules_to_save})
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": first.base,
        "revision": first.revision,
        "inference_mode": True,
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": others,
        "alpha_pattern": others,
        "use_rslora": False,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": True in orientations,
        "init_lora_weights": True,
        "target_modules": sorted(ranks),
        "modules_to_save": saved or None,
    }


def _write_delta(merge: AdapterMerge, folder: Path) -> Written:
    tensors = {f"{key}.weight": merge.updates.dense(key).contiguous() for key in merge.updates.keys}
    tensors |= {key: head.contiguous() for key, head in merge.head_values().items()}
    save_file(tensors, folder / DELTA_FILE, {"format": "pt"})
    return Written(folder, "delta", dict.fromkeys(merge.updates.keys, 0.0), {})


def _write_model(merge: AdapterMerge, folder: Path) -> Written:
    native = merge.host.require_native("writing a model")
    with merge.weights_in_place():
        native.save_pretrained(folder)
    if merge.host.tokenizer is not None:
        merge.host.tokenizer.save_pretrained(folder)
    return Written(folder, "model", dict.fromkeys(merge.updates.keys, 0.0), {})
