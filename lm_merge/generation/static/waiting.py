"""Finds operations that a recorded step cannot hold: they wait for the device or depend on values."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from lm_merge.generation.static.system import NoStaticStep

WAITS = (
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "_unique",
    "unique_",
    "equal.default",
    "is_nonzero",
    "bincount",
)


class NoWaiting(TorchDispatchMode):
    """Inside, an operation that reads a value off the device, or whose shape depends on one, raises.

    n_operations: how many ran.
    """

    def __init__(self) -> None:
        super().__init__()
        self.n_operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n_operations += 1
        name = str(func).removeprefix("aten.")
        if name.startswith(WAITS):
            raise NoStaticStep(f"operation {name} of the step waits for the device")
        return func(*args, **(kwargs or {}))
