"""Where the TransformerLens view of a host computes with the same weights as the native view."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from lm_merge.models import HookedLM


def modules_in_hooked_view(
    host: HookedLM, native: Mapping[str, nn.Module], *, same_parameter: bool = False
) -> dict[str, nn.Module]:
    """The module of the hooked view for each of the native view, by the storage of its weight.

    same_parameter: only a module with the very same parameter counts, whose data may be replaced.

    A bridge may copy a weight, or keep the module without calling it (fused attention inputs that it
    splits). Both views therefore run once on two tokens. Raises ValueError for a module that runs in the
    native view only: an update added to its output would not be seen in the hooked view.
    """
    places: dict[tuple[int, type], nn.Module] = {}
    for module in host.hooked.modules():
        weight = module._parameters.get("weight")
        if weight is not None:
            places[weight.data_ptr(), type(module)] = module
    found: dict[str, nn.Module] = {}
    for key, module in native.items():
        weight: Any = module.weight
        twin = places.get((weight.data_ptr(), type(module)))
        if twin is not None and (not same_parameter or twin._parameters["weight"] is weight):
            found[key] = twin
    tokens = torch.zeros(1, 2, dtype=torch.long, device=host.device)
    used = _called(native, lambda: host(tokens))
    lacking = sorted(used - _called(found, lambda: host.hooked(tokens)))
    if lacking:
        raise ValueError(
            f"the hooked view of {host.name!r} does not compute with {len(lacking)} of the updated "
            f"modules, for example {lacking[0]!r} (its bridge copies or splits the weight): the merge "
            "would not be seen there; use the native view: merge(tokens), merge.generate"
        )
    return found


def _called(modules: Mapping[str, nn.Module], run: Callable[[], object]) -> set[str]:
    """Which of the modules run in a forward pass."""
    called: set[str] = set()

    def note(key: str) -> Callable[..., None]:
        return lambda *_: called.add(key)

    with ExitStack() as stack, torch.no_grad():
        handles: Iterable[Any] = [
            module.register_forward_hook(note(key)) for key, module in modules.items()
        ]
        stack.callback(lambda: [handle.remove() for handle in handles])
        run()
    return called
