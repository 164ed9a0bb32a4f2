"""Writing safetensors whose sizes are known before their values: header first, then any order."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from jaxtyping import Shaped
from torch import Tensor

from lm_merge.models.checkpoint_files import INDEX, SINGLE
from lm_merge.spaces.weights.checkpoint import DTYPES

NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Planned:
    """A tensor to be written."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def n_bytes(self) -> int:
        """Its size in the file, without its line in the header."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()


class CheckpointWriter:
    """Open the files of a checkpoint, write each tensor at its place, from any thread.

    shard_size: bytes of tensors a file at most; a larger tensor has a file of its own.
    """

    def __init__(self, folder: Path, tensors: Iterable[Planned], shard_size: int) -> None:
        self._places: dict[str, tuple[int, int]] = {}  # name -> file descriptor, offset
        self._descriptors: list[int] = []
        shards = _shards(list(tensors), shard_size)
        weight_map = {}
        for number, shard in enumerate(shards, start=1):
            single = len(shards) == 1
            file = SINGLE if single else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            self._start_file(folder / file, shard)
            weight_map |= {one.name: file for one in shard}
        if len(shards) > 1:
            total = sum(one.n_bytes for shard in shards for one in shard)
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")

    def _start_file(self, path: Path, shard: list[Planned]) -> None:
        header: dict[str, Mapping[str, object]] = {"__metadata__": {"format": "pt"}}
        end = 0
        for one in shard:
            start, end = end, end + one.n_bytes
            header[one.name] = {
                "dtype": NAMES[one.dtype],
                "shape": list(one.shape),
                "data_offsets": [start, end],
            }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._descriptors.append(descriptor)
        os.write(descriptor, len(text).to_bytes(8, "little") + text)
        os.truncate(descriptor, 8 + len(text) + end)
        at = 8 + len(text)
        for one in shard:
            self._places[one.name] = (descriptor, at)
            at += one.n_bytes

    def write(self, name: str, values: Shaped[Tensor, "..."], first: int = 0) -> None:
        """Write values of a tensor, from its `first` value on, in the tensor's planned dtype."""
        descriptor, start = self._places[name]
        plain = values.contiguous().flatten().view(torch.uint8).numpy()
        data, at = memoryview(plain.data), start + first * values.dtype.itemsize
        while data:
            n_written = os.pwrite(descriptor, data, at)
            data, at = data[n_written:], at + n_written

    def close(self) -> None:
        """Close the files; raises OSError where the system could not keep what was written."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _shards(tensors: list[Planned], shard_size: int) -> list[list[Planned]]:
    """Tensors in order, cut where a file would grow over its size; wide dtypes first in each file."""
    shards: list[list[Planned]] = [[]]
    size = 0
    for one in tensors:
        if shards[-1] and size + one.n_bytes > shard_size:
            shards.append([])
            size = 0
        shards[-1].append(one)
        size += one.n_bytes
    # as the format's own writer does, so that every tensor starts at a multiple of its width
    return [sorted(shard, key=lambda one: -one.dtype.itemsize) for shard in shards]
