"""A second module tree over the same parameters."""

import copy
from typing import TypeVar

from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def parameter_twin(module: ModuleT) -> ModuleT:
    """A copy of a module whose parameters and buffers are the very same tensors.

    Only the tree, its configuration and its hooks are new: hooks that hang on the original are not
    carried over, and an edit of a weight in place shows in both.
    """
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    twin = copy.deepcopy(module, shared)
    for part in twin.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks):
            hooks.clear()
    return twin
