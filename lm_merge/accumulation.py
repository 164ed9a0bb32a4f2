"""Where sums over many values are taken in float64: on their device, or on the CPU if it has none."""

import torch
from torch import Tensor

WITHOUT_FLOAT64 = {"mps"}  # types of devices


def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64."""
    if device.type == "xpu":
        return bool(torch.xpu.get_device_properties(device).has_fp64)
    return device.type not in WITHOUT_FLOAT64


def wide(values: Tensor) -> Tensor:
    """The values in float64: on their device, or on the CPU where the device lacks float64."""
    return (values if has_float64(values.device) else values.cpu()).to(torch.float64)


def wide_sum(values: Tensor) -> Tensor:
    """The sum of all values in float64, without a copy of them where their device has float64."""
    return (values if has_float64(values.device) else values.cpu()).sum(dtype=torch.float64)
