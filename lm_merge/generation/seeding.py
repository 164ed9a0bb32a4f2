"""Draws from a seed that leave torch's own generators as they were."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def seeded(seed: int | None, devices: Collection[torch.device]) -> Iterator[None]:
    """Inside, torch draws from `seed` on the CPU and on these devices; None changes nothing.

    Generators of other devices are neither read nor set: on a shared machine a read of each would
    claim memory on every GPU.
    """
    if seed is None:
        yield
        return
    with ExitStack() as stack:
        for generator in _generators(devices):
            stack.callback(generator.set_state, generator.get_state())
            generator.manual_seed(seed)
        yield


def _generators(devices: Collection[torch.device]) -> list[torch.Generator]:
    found = [torch.default_generator]
    for device in devices:
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            found.append(torch.cuda.default_generators[index])
        elif device.type == "mps":
            found.append(torch.mps._get_default_mps_generator())
    return found
