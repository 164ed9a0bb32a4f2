"""What an epoch costs: time, memory and disk."""

import resource
import shutil
import sys
import time
from pathlib import Path

import torch

KB, GB = 1e3, 1e9
UNIT = 1.0 if sys.platform == "darwin" else KB  # of `ru_maxrss`, in bytes


def cost_since(started: float, n_texts: int, folder: Path) -> dict[str, float | None]:
    """Costs of an epoch that began at `started` (time.monotonic).

    seconds, texts_per_second; peak_memory_gb of the process so far, peak_device_gb of the GPU since the
    last call (None without one), free_disk_gb of the folder's disk.
    """
    seconds = time.monotonic() - started
    device = None
    if torch.cuda.is_available():
        device = torch.cuda.max_memory_allocated() / GB
        torch.cuda.reset_peak_memory_stats()
    return {
        "seconds": seconds,
        "texts_per_second": n_texts / seconds,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT / GB,
        "peak_device_gb": device,
        "free_disk_gb": shutil.disk_usage(folder).free / GB,
    }
