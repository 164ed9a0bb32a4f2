"""Reading a checkpoint folder: configuration, tensor names and shapes, and memory-mapped tensors."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from torch import Tensor

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


@dataclass(frozen=True)
class Entry:
    """Where a tensor is and what it looks like; file None for one held in memory."""

    file: Path | None
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def n_bytes(self) -> int:
        """Size in its own dtype."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder, its files open but its tensors unread."""

    name: str
    folder: Path
    config: dict[str, Any]
    entries: dict[str, Entry]
    handles: dict[Path, Any] = field(repr=False)
    loaded: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def tensor(self, name: str) -> Shaped[Tensor, "..."]:
        """The tensor, mapped from its file: read when used, private to this process when changed."""
        file = self.entries[name].file
        if file is None:
            return self.loaded[name]
        try:
            return self.handles[file].get_tensor(name)
        except SafetensorError as error:
            raise OSError(f"{file}: tensor {name!r} cannot be read: {error}") from error


def open_checkpoint(folder: Path, name: str, *, allow_pickle: bool = False) -> Checkpoint:
    """Open a folder with config.json and safetensors, one file or shards with an index.

    allow_pickle: read pytorch_model*.bin where there are no safetensors, through torch's weights-only
    unpickler. Raises OSError or ValueError, with the file, for what is absent, damaged or points
    outside the folder.
    """
    config = _json(folder / "config.json", name)
    files = _files(folder, name)
    if not files:
        return _pickled(folder, name, config, allow_pickle)
    handles, entries = {}, {}
    for path in files:
        handles[path] = _opened(path)
        for key in handles[path].keys():  # noqa: SIM118 # no dict
            piece = handles[path].get_slice(key)
            kind = piece.get_dtype()
            if kind not in DTYPES:
                raise ValueError(f"{path}: tensor {key!r} has dtype {kind}, which is not supported")
            if key in entries:
                raise ValueError(f"{path}: tensor {key!r} is in {entries[key].file}, too")
            entries[key] = Entry(path, tuple(piece.get_shape()), DTYPES[kind])
    return Checkpoint(name, folder, config, entries, handles)


def _files(folder: Path, name: str) -> list[Path]:
    index = folder / INDEX
    if not index.is_file():
        single = folder / SINGLE
        return [single] if single.is_file() else []
    weight_map = _json(index, name).get("weight_map")
    if not isinstance(weight_map, dict):
        raise ValueError(f"{index}: no weight_map")
    for file in weight_map.values():
        if not isinstance(file, str) or Path(file).name != file or file in ("", ".", ".."):
            raise ValueError(f"{index}: the shard name {file!r} is no plain file name")
    files = [folder / file for file in sorted(set(weight_map.values()))]
    absent = [path.name for path in files if not path.is_file()]
    if absent:
        raise OSError(f"model {name!r}: {', '.join(absent)}, named in {index}, is not there")
    return files


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error


def _pickled(folder: Path, name: str, config: dict[str, Any], allowed: bool) -> Checkpoint:
    bins = sorted(folder.glob("pytorch_model*.bin"))
    if not bins:
        raise OSError(f"model {name!r}: {folder} has no {SINGLE} and no {INDEX}")
    if not allowed:
        raise ValueError(
            f"model {name!r}: {folder} has only pickled weights ({bins[0].name}); convert them to "
            "safetensors, or pass allow_pickle to read them all the same"
        )
    loaded: dict[str, Tensor] = {}
    for path in bins:
        loaded |= torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    entries = {
        key: Entry(None, tuple(tensor.shape), tensor.dtype) for key, tensor in loaded.items()
    }
    return Checkpoint(name, folder, config, entries, {}, loaded)


def _json(path: Path, name: str) -> dict[str, Any]:
    if not path.is_file():
        raise OSError(f"model {name!r}: {path} is not there")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content
