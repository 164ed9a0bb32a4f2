"""What a CUDA graph does, on the CPU: the operations of one step, repeated on the same tensors.

Python runs once, while the operations are recorded. A number that Python computed from a prompt, an
alpha or a position is frozen in the recording, as it would be in a CUDA graph.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Recording(TorchDispatchMode):
    """Notes every operation with its inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, output))
        return output

    def replay(self) -> None:
        """Compute everything anew from the values that the tensors hold now, into the same tensors."""
        for func, args, kwargs, output in self.operations:
            again = func(*args, **kwargs)
            for new, old in zip(tree_leaves(again), tree_leaves(output), strict=True):
                if isinstance(old, Tensor) and new.data_ptr() != old.data_ptr():
                    old.copy_(new)


def recorded(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Record a step; gives its replay."""
    recording = Recording()
    with recording:
        step()
    return recording.replay
