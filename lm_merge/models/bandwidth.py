"""Memory bandwidth of a device, measured by copying: the limit of decoding one text at a time."""

import time

import torch

REPEATS = 10


def copy_bandwidth(device: torch.device, n_bytes: int | None = None) -> float:
    """Bytes a second that a copy reads and writes, the best of ten copies.

    n_bytes: size of the tensor; 1 GiB on a GPU and 64 MiB elsewhere unless given, more than caches hold.
    """
    size = n_bytes or (2**30 if device.type == "cuda" else 2**26)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return max(2 * size / _copy_seconds(source, target) for _ in range(REPEATS))


def _copy_seconds(source: torch.Tensor, target: torch.Tensor) -> float:
    _wait(source.device)
    start = time.perf_counter()
    target.copy_(source)
    _wait(source.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
