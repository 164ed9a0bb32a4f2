"""Reading a checkpoint folder: configuration, tensor names and shapes, and memory-mapped tensors."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError
from torch import Tensor

from lm_merge.models.checkpoint_files import (
    CONFIG,
    check_index,
    is_safetensors,
    open_safetensors,
    read_json,
    read_pickle,
    weight_files,
)

if TYPE_CHECKING:
    from lm_merge.spaces.weights.adapted import TensorUpdates

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
    """A checkpoint folder, its files open but its tensors unread.

    stored: name in the file of each tensor that has another name here. updates: of the adapter with
    which the checkpoint is read, if there is one.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    entries: dict[str, Entry]
    handles: dict[Path, Any] = field(repr=False)
    loaded: dict[str, Tensor] = field(default_factory=dict, repr=False)
    stored: dict[str, str] = field(default_factory=dict, repr=False)
    updates: "TensorUpdates | None" = field(default=None, repr=False)

    def tensor(self, name: str) -> Shaped[Tensor, "..."]:
        """The tensor, mapped from its file: read when used, private to this process when changed.

        With an adapter's update it is computed, in float32 or wider whatever the file's dtype.
        """
        stored = self.stored.get(name, name)
        values = self._as_stored(name, stored)
        return values if self.updates is None else self.updates.apply(stored, values)

    def is_computed(self, name: str) -> bool:
        """Whether the tensor is more than what the file holds."""
        return self.updates is not None and self.updates.touches(self.stored.get(name, name))

    def _as_stored(self, name: str, stored: str) -> Shaped[Tensor, "..."]:
        file = self.entries[name].file
        if file is None:
            return self.loaded[stored]
        try:
            return self.handles[file].get_tensor(stored)
        except SafetensorError as error:
            raise OSError(f"{file}: tensor {name!r} cannot be read: {error}") from error


def open_checkpoint(folder: Path, name: str, *, allow_pickle: bool = False) -> Checkpoint:
    """Open a folder with config.json and the files that transformers would read (`weight_files`).

    allow_pickle: read pytorch_model*.bin where there are no safetensors, through torch's weights-only
    unpickler. Raises OSError or ValueError, with the file, for what is absent, damaged or points
    outside the folder.
    """
    config = read_json(folder / CONFIG, name)
    files = weight_files(folder, name)
    pickled = [path for path in files if not is_safetensors(path)]
    if pickled and not allow_pickle:
        raise ValueError(
            f"model {name!r}: {folder} has only pickled weights ({pickled[0].name}); convert them to "
            "safetensors, or pass allow_pickle to read them all the same"
        )
    handles: dict[Path, Any] = {}
    entries: dict[str, Entry] = {}
    loaded: dict[str, Tensor] = {}
    for path in files:
        if path in pickled:
            tensors = read_pickle(path)
            found = {key: Entry(None, tuple(one.shape), one.dtype) for key, one in tensors.items()}
            loaded |= tensors
        else:
            handles[path] = open_safetensors(path)
            found = _header(path, handles[path])
        for key in entries.keys() & found.keys():
            raise ValueError(f"{path}: tensor {key!r} is in another file of {folder}, too")
        entries |= found
    check_index(folder, name, files, set(entries))
    return Checkpoint(name, folder, config, entries, handles, loaded)


def _header(path: Path, handle: Any) -> dict[str, Entry]:
    entries = {}
    for key in handle.keys():  # noqa: SIM118 # no dict
        piece = handle.get_slice(key)
        kind = piece.get_dtype()
        if kind not in DTYPES:
            raise ValueError(f"{path}: tensor {key!r} has dtype {kind}, which is not supported")
        entries[key] = Entry(path, tuple(piece.get_shape()), DTYPES[kind])
    return entries
