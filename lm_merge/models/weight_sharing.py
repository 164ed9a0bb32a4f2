"""A second module tree over the same parameters."""

import copy
from typing import TypeVar

import torch
from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def weight_sharing_copy(module: ModuleT) -> ModuleT:
    """A copy of a module whose parameters and buffers are the very same tensors.

    Only the tree, its configuration and its hooks are new: hooks that hang on the original and
    gradient checkpointing are not carried over; an edit of a weight in place shows in both.
    """
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    twin = copy.deepcopy(module, shared)
    for part in twin.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks):
            hooks.clear()
        if "gradient_checkpointing" in vars(part):
            vars(part)["gradient_checkpointing"] = False  # it would drop the key-value cache
    return twin


def cast_parameters(twin: nn.Module, dtype: torch.dtype) -> None:
    """Give a twin copies of its floating parameters in another dtype; the original keeps its own."""
    for part in twin.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and parameter.is_floating_point():
                cast = parameter.detach().to(dtype)
                part._parameters[name] = nn.Parameter(cast, requires_grad=False)


def follow_training_mode(twin: nn.Module, original: nn.Module) -> None:
    """Put a twin into the mode, training or evaluation, that its original is in by now."""
    if twin.training != original.training:
        twin.train(original.training)
