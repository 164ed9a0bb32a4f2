"""How many threads torch computes with, by the size of the model, and how waiting threads wait.

An operation of a small model takes microseconds, and its threads wait for each other after every one.
Where another process keeps a core busy, threads that spin while they wait lose most of their time. A
user's own setting always wins.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

N_SMALL = 20_000_000  # parameters; a choice between the bundled models and a 135M one, not measured
USER_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_TOPOLOGY = Path("/sys/devices/system/cpu")


@dataclass
class _Choice:
    """What was chosen in this process."""

    n_parameters: int = 0  # of the largest model so far
    n_threads: int | None = None  # as this module set it; None: never
    default: int | None = None  # as torch had it


_choice = _Choice()


def wait_passively() -> None:
    """Let threads sleep while they wait; OpenMP reads this once, when torch is imported."""
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def fit_threads(n_parameters: int) -> None:
    """One thread while every model so far is small, torch's default from the first large one on.

    n_parameters: of the model that will be computed with.

    Changes nothing where OMP_NUM_THREADS or MKL_NUM_THREADS is set, or where torch's number of
    threads is neither its default nor what this function set, so `torch.set_num_threads` was called.
    """
    import torch

    if any(os.environ.get(name) for name in USER_SETTINGS):
        return
    now = torch.get_num_threads()
    if now != _choice.n_threads and (_choice.n_threads is not None or now not in _defaults()):
        return
    if _choice.default is None:
        _choice.default = now
    _choice.n_parameters = max(_choice.n_parameters, n_parameters)
    _choice.n_threads = 1 if _choice.n_parameters < N_SMALL else _choice.default
    torch.set_num_threads(_choice.n_threads)


def _defaults() -> set[int]:
    """What torch starts with: the cores that this process may use, with or without their siblings."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    cores = set()
    for cpu in allowed:
        siblings = _TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        cores.add(siblings.read_text() if siblings.is_file() else str(cpu))
    return {len(allowed), len(cores), os.cpu_count() or 1}
