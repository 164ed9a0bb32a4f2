"""Cells on Ray: a local cluster, or one that runs already."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lm_merge.runs.cells import Cell, CellOutcome, record_failure, run_cell
from lm_merge.runs.executors import Executor


@contextmanager
def on_ray(
    address: str | None = None,
    *,
    cpus: float = 1.0,
    gpus: float = 0.0,
    local_cpus: int | None = None,
) -> Iterator[Executor]:
    """An executor for `sweep` that runs cells side by side on Ray, in processes of their own.

    address: of a running cluster, for example "auto"; None: one of this machine alone, stopped on
        leaving. Every node needs lm_merge and sees the folder of the records by the same path.
    cpus, gpus: what each cell holds while it runs. With gpus, "cuda" is the cell's own device.
    local_cpus: how many CPUs the local cluster has; None: all of the machine.

    Raises ValueError, before anything is queued, where no node has that many CPUs and GPUs: Ray would
    wait for ever. Reports no usage. A program that initialised Ray itself keeps its cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Ray is not installed: pip install 'lm-merge[ray]', or sweep without it"
        ) from error
    mine = not ray.is_initialized()
    if mine:
        local = _local_options(local_cpus) if address is None else {}
        ray.init(address or "local", log_to_driver=False, configure_logging=False, **local)
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        check_satisfiable(nodes, cpus=cpus, gpus=gpus)
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus)(run_cell)
        yield _OnRay(ray, remote)
    finally:
        if mine:
            ray.shutdown()


def check_satisfiable(nodes: Sequence[Mapping[str, float]], *, cpus: float, gpus: float) -> None:
    """Raise ValueError where no single node has the CPUs and GPUs that one cell asks for."""
    if cpus < 0 or gpus < 0 or cpus + gpus == 0:
        raise ValueError(f"cpus={cpus:g}, gpus={gpus:g}: a cell needs more than nothing")
    sizes = [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]
    if not any(cpus <= has_cpus and gpus <= has_gpus for has_cpus, has_gpus in sizes):
        have = "; ".join(f"{has_cpus:g} CPUs and {has_gpus:g} GPUs" for has_cpus, has_gpus in sizes)
        raise ValueError(
            f"cpus={cpus:g}, gpus={gpus:g} for each cell: no node can ever give that; the nodes "
            f"have {have}"
        )


def _local_options(n_cpus: int | None) -> dict[str, Any]:
    """A cluster without dashboard whose workers import what this process can import."""
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return {"include_dashboard": False, "num_cpus": n_cpus, "runtime_env": {"env_vars": path}}


class _OnRay:
    """Executor: every cell is a task of Ray."""

    def __init__(self, ray: Any, remote: Any) -> None:
        self._ray, self._remote = ray, remote
        self._pending: dict[Any, Cell] = {}

    def submit(self, cell: Cell, wait: bool) -> None:
        task = self._remote.options(max_retries=cell.n_attempts - 1)
        self._pending[task.remote(cell, wait)] = cell

    def next_done(self) -> tuple[Cell, CellOutcome | None]:
        (done,), _ = self._ray.wait(list(self._pending), num_returns=1)
        cell = self._pending.pop(done)
        try:
            return cell, self._ray.get(done)
        except self._ray.exceptions.RayError as error:  # killed for memory, a node lost
            return cell, record_failure(cell, error)

    def drop(self) -> None:
        for reference in self._pending:
            self._ray.cancel(reference)
        self._pending.clear()
