"""Decoding on a GPU against its memory bandwidth: dynamic, with one recorded step, and compiled.

`python -m benchmarks.decode --device cuda --shape qwen2.5-7b`; random weights made on the device.
"""

from collections.abc import Callable
from statistics import median
from typing import Any

import pandas as pd
import torch

import lm_merge as lm
from benchmarks.pairs import SHAPES, decode_limit, native_of, step_bytes
from benchmarks.timing import interleaved_seconds
from lm_merge.models.bandwidth import copy_bandwidth

Run = Callable[[int], Any]
ONE = "one model"
PATHS: dict[str, dict[str, Any]] = {
    "dynamic": {"static": False},
    "graph": {"static": True},
    "compiled graph": {"static": True, "compile": "default"},
}


def measure_static(config: Any, batch: int) -> pd.DataFrame:
    """Milliseconds a step of every system, its limit, and the share of the limit that it reaches.

    config: a `DecodeConfig` with a device. The limit is the parameters that a step reads over the copy
    bandwidth measured here. preparation_s: of recording, and of compiling where that is asked for.
    """
    device = torch.device(config.device)
    shape, dtype = SHAPES[config.shape], getattr(torch, config.dtype)
    host, donor = (lm.wrap(native_of(shape, seed, device, dtype)) for seed in (0, 1))
    ids = torch.randint(3, shape.vocab_size, (batch, config.n_prompt), device=device)
    bandwidth = copy_bandwidth(device)
    systems, preparation = _systems(host, donor, config, ids)
    timed = {
        f"{name}|{n_new}": (lambda run=run, n_new=n_new: _waited(run, n_new, device))
        for name, run in systems.items()
        for n_new in (1, config.n_new)
    }
    with torch.no_grad():
        seconds = interleaved_seconds(timed, config.n_rounds, f"decode on {device}, batch {batch}")
    one_ms = 1e3 * step_bytes(host) / bandwidth
    rows = []
    for name in systems:
        pairs = zip(seconds[f"{name}|{config.n_new}"], seconds[f"{name}|1"], strict=True)
        step_ms = 1e3 * median(long - short for long, short in pairs) / (config.n_new - 1)
        layer = int(name.rpartition("=")[2]) if "l=" in name else None
        limit_ms = one_ms * (1 if layer is None else decode_limit(host, layer))
        rows.append(
            {"system": name, "batch": batch, "step_ms": step_ms, "limit_ms": limit_ms}
            | {
                "share_of_limit": limit_ms / step_ms,
                "prefill_ms": 1e3 * median(seconds[f"{name}|1"]),
            }
            | {"preparation_s": preparation.get(name)}
        )
    return pd.DataFrame(rows).assign(
        bandwidth_gb_s=bandwidth / 1e9, device=_device_name(device), dtype=config.dtype
    )


def _systems(
    host: lm.HookedLM, donor: lm.HookedLM, config: Any, ids: torch.Tensor
) -> tuple[dict[str, Run], dict[str, float]]:
    """System -> generate so many tokens; and seconds that its first call spent on the recording."""
    composed: dict[str, Any] = {ONE: host}
    for layer in config.layers:
        composed[f"l={layer}"] = lm.LatentMerge(
            host, donor, operator=config.operator, layers=[layer], alpha=config.alpha
        )
    paths = {name: PATHS[name] for name in PATHS if config.compiled or "compile" not in PATHS[name]}
    native: Any = host.native
    systems: dict[str, Run] = {
        "transformers, one model": lambda n_new: native.generate(ids, **_greedy(n_new))
    }
    preparation = {}
    for path, arguments in paths.items():
        for what, model in composed.items():
            name = f"{path}, {what}"
            systems[name] = _run_of(model, ids, arguments)
            systems[name](config.n_new)
            if arguments["static"]:
                preparation[name] = model.decoding.last.preparation_s
    return systems, preparation


def _run_of(model: Any, ids: torch.Tensor, arguments: dict[str, Any]) -> Run:
    return lambda n_new: model.generate(ids, **_greedy(n_new), **arguments)


def _greedy(n_new: int) -> dict[str, Any]:
    length = {"max_new_tokens": n_new, "min_new_tokens": n_new}
    return {"do_sample": False, "pad_token_id": 0, **length}


def _waited(run: Run, n_new: int, device: torch.device) -> None:
    run(n_new)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
