"""Decompositions on disk: safetensors and JSON, no pickle."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

if TYPE_CHECKING:
    from lm_merge.decomposition.fit import Fit

INFO = "info"  # key of the JSON text in a file's metadata


def write_tensors(path: Path, tensors: dict[str, Tensor], info: dict[str, object]) -> None:
    """Write tensors with a JSON description in the same file; replaces it as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    plain = {name: one.detach().contiguous().cpu().clone() for name, one in tensors.items()}
    save_file(plain, draft, metadata={INFO: json.dumps(info)})
    os.replace(draft, path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description of a file that `write_tensors` wrote."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # no dict
    if INFO not in metadata:
        raise ValueError(f"{path} was not written by a decomposition: it has no {INFO!r}")
    return tensors, json.loads(metadata[INFO])


def _identity(fit: "Fit") -> dict[str, object]:
    return {
        "settings": fit.settings.model_dump(mode="json"),
        "seeds": list(fit.decomposition.seeds),
    }


def write_checkpoint(path: Path, fit: "Fit") -> None:
    """Components, gates, the optimizer's moments, generators, counters."""
    tensors = dict(fit.decomposition.tensors)
    for name, parameter in fit.decomposition.tensors.items():
        for key, value in fit.optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    for stream, generators in fit.generators.items():
        tensors[f"generators.{stream}"] = torch.stack([one.get_state() for one in generators])
    for name, last in fit.last_alive.items():
        tensors[f"last_alive.{name}"] = last
    state = {"step": fit.step_number, "cpu_seconds": fit.cpu_seconds, "history": fit.history}
    write_tensors(path, tensors, {**_identity(fit), **state})


def read_checkpoint(path: Path, fit: "Fit") -> None:
    """Put a checkpoint's state into a new fit; ValueError if settings or seeds differ."""
    tensors, info = read_tensors(path)
    for key, value in _identity(fit).items():
        if info.get(key) != value:
            raise ValueError(
                f"{path} is a checkpoint of other {key}: {info.get(key)}, asked for {value}; give "
                "another folder or remove it"
            )
    with torch.no_grad():
        for name, parameter in fit.decomposition.tensors.items():
            parameter.copy_(tensors.pop(name))
            keys = [key for key in tensors if key.endswith(f".{name}") and "optimizer." in key]
            fit.optimizer.state[parameter] = {
                key.removeprefix("optimizer.").removesuffix(f".{name}"): _placed(
                    key, tensors[key], parameter
                )
                for key in keys
            }
    for stream, generators in fit.generators.items():
        for generator, state in zip(generators, tensors[f"generators.{stream}"], strict=True):
            generator.set_state(state.clone())  # a view into the stack is refused
    device = next(iter(fit.decomposition.tensors.values())).device
    prefix = "last_alive."
    fit.last_alive = {
        key.removeprefix(prefix): value.to(device)
        for key, value in tensors.items()
        if key.startswith(prefix)
    }
    fit.step_number, fit.cpu_seconds = info["step"], info["cpu_seconds"]
    fit.history = info.get("history", [])


def _placed(key: str, value: Tensor, parameter: Tensor) -> Tensor:
    """The count of steps stays on the CPU, moments lie where the parameter does."""
    return value if ".step." in key else value.to(parameter.device)
