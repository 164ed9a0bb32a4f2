"""Reading an adapter folder in PEFT's format: the low-rank update of each module, and saved heads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lm_merge.models.adapters.settings import CONFIG_FILE, AdapterSettings, read_settings
from lm_merge.operators.low_rank import LowRank
from lm_merge.recipes.sources import Source

WEIGHTS_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."
BASE_LAYER = ".base_layer."
LINEAR, EMBEDDING = (".lora_A.weight", ".lora_B.weight"), (".lora_embedding_A", ".lora_embedding_B")


@dataclass(frozen=True)
class Adapter:
    """The updates of one base model's modules.

    name: the folder's name, or the bundled one. deltas: module path -> update in the orientation
    [d_out, d_in] (embeddings: [d_model, d_vocab]). heads: full name -> tensor of modules that were
    trained whole and replace the base's, such as a classifier. copies: full name -> tensor of the base
    that PEFT saved along (embeddings); the base must hold equal values. source: what a recipe calls the
    adapter; None for one that was computed in memory.
    """

    name: str
    folder: Path
    settings: AdapterSettings
    deltas: Mapping[str, LowRank]
    heads: Mapping[str, Shaped[Tensor, "..."]]
    copies: Mapping[str, Shaped[Tensor, "..."]]
    source: Source | None = None

    @property
    def n_bytes(self) -> int:
        """Memory of all factors and heads."""
        heads = sum(tensor.nbytes for tensor in self.heads.values())
        return heads + sum(delta.n_bytes for delta in self.deltas.values())


def read_adapter(folder: Path, name: str | None = None, *, source: Source | None = None) -> Adapter:
    """Read an adapter from its folder, on the CPU, in the dtype of its file.

    name: the folder's unless given; source: what a recipe calls it, the folder unless given.

    Raises OSError for a missing or damaged file and ValueError for adapters that are no plain LoRA, for
    tensors that do not belong to one, and for values that are not finite.
    """
    settings = read_settings(_config(folder), folder)
    tensors = _tensors(folder)
    deltas, used = _deltas(tensors, settings, folder)
    rest = {key.removeprefix(PREFIX): value for key, value in tensors.items() if key not in used}
    heads = {key: value for key, value in rest.items() if _is_head(key, settings)}
    copies = {key.replace(BASE_LAYER, "."): rest[key] for key in rest if BASE_LAYER in key}
    strange = sorted(key for key in rest if key not in heads and BASE_LAYER not in key)
    if strange:
        raise ValueError(
            f"adapter {folder} holds {len(strange)} tensors that belong to no LoRA update, for example "
            f"{strange[0]!r}; it may be another kind of adapter"
        )
    if not deltas:
        raise ValueError(f"adapter {folder} holds no LoRA update in {WEIGHTS_FILE}")
    for key, value in tensors.items():
        if not value.isfinite().all():
            raise ValueError(f"adapter {folder}: tensor {key!r} holds NaN or infinity")
    own = str(folder) if source is None else source
    return Adapter(name or folder.name, folder, settings, deltas, heads, copies, own)


def _deltas(
    tensors: Mapping[str, Tensor], settings: AdapterSettings, folder: Path
) -> tuple[dict[str, LowRank], set[str]]:
    """Updates by module path, and the names of the tensors they are made of."""
    deltas: dict[str, LowRank] = {}
    used: set[str] = set()
    for ends in (LINEAR, EMBEDDING):
        for key in sorted(one for one in tensors if one.endswith(ends[0])):
            stem = key.removesuffix(ends[0])
            other = stem + ends[1]
            if other not in tensors:
                raise ValueError(f"adapter {folder}: {key!r} has no counterpart {other!r}")
            module = stem.removeprefix(PREFIX)
            a, b = tensors[key], tensors[other]
            _check_rank(module, a, b, settings, folder)
            deltas[module] = LowRank(a, b, settings.scale_of(module))
            used |= {key, other}
    return deltas, used


def _check_rank(module: str, a: Tensor, b: Tensor, settings: AdapterSettings, folder: Path) -> None:
    rank = settings.rank_of(module)
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != rank or b.shape[1] != rank:
        raise ValueError(
            f"adapter {folder}: module {module!r} has factors of shapes {tuple(a.shape)} and "
            f"{tuple(b.shape)}, but {CONFIG_FILE} says rank {rank} (r, rank_pattern)"
        )


def _is_head(key: str, settings: AdapterSettings) -> bool:
    """Whether a tensor belongs to a module that was trained whole."""
    parts = key.split(".")
    return any(name in parts for name in settings.modules_to_save)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise OSError(f"{folder} is no adapter folder: {CONFIG_FILE} is not there")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content


def _tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        pickled = " (adapter_model.bin is pickled: convert it)" if _has_pickle(folder) else ""
        raise OSError(f"adapter {folder}: {WEIGHTS_FILE} is not there{pickled}")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 # no dict
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error


def _has_pickle(folder: Path) -> bool:
    return (folder / "adapter_model.bin").is_file()
