"""What training does where memory or disk run short."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

ResultT = TypeVar("ResultT")


def with_smaller_batches(
    train: Callable[[int, int], ResultT], batch: int, accumulation: int
) -> tuple[ResultT, tuple[str, ...]]:
    """`train(batch, accumulation)`; half the batch and twice the accumulation where memory runs out.

    The texts of an optimizer step stay the same. A second value has a note for each halving. Raises
    torch's OutOfMemoryError where a batch of one does not fit, or the batch is odd.
    """
    notes = list[str]()
    while True:
        try:
            return train(batch, accumulation), tuple(notes)
        except torch.OutOfMemoryError:
            if batch % 2:
                raise
            batch, accumulation = batch // 2, accumulation * 2
            notes.append(f"out of memory: batch {batch}, accumulation {accumulation} from here on")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def limit_device(device: str | None, budget_gb: float) -> None:
    """Let this process take so many GB (1e9 bytes) of a GPU; what goes beyond is out of memory.

    Raises ValueError where the device is no GPU.
    """
    place = torch.device(device or "cpu")
    if place.type != "cuda":
        raise ValueError(
            f"max_device_gb={budget_gb:g} is a budget of a GPU's memory, and device={device!r} is none; "
            "leave it out, or give device cuda"
        )
    index = torch.cuda.current_device() if place.index is None else place.index
    total = torch.cuda.get_device_properties(index).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, budget_gb * 1e9 / total), index)


def check_free_disk(folder: Path, needed: int, what: str) -> None:
    """Raise OSError unless a folder's disk has so many free bytes; the folder need not exist yet."""
    parent = folder.absolute()
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise OSError(
            f"{what} needs {needed / 1e9:.2f} GB in {parent}, which has {free / 1e9:.2f} GB free; free "
            "some, or choose another folder"
        )
