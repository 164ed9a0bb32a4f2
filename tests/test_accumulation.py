"""Sums over many values are in float64, also where a device lacks it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lm_merge import accumulation
from lm_merge.accumulation import wide, wide_sum
from lm_merge.metrics.cka import CKAFitter
from lm_merge.metrics.minibatch_cka import MinibatchCKA
from lm_merge.operators.low_rank import LowRank, gram, recompress
from lm_merge.operators.sparse import largest
from lm_merge.statistics.clustered_means import ClusteredMean

PROJECT = Path(__file__).parents[1]
DEVICE = "meta"  # stands for a device without float64


class WithoutFloat64(TorchDispatchMode):
    """Refuses float64 on the device, as MPS does; what leaves it for the CPU is `left`."""

    def __init__(self, left: Callable[..., Tensor] = torch.ones) -> None:
        super().__init__()
        self.left = left

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target = torch.device(kwargs.get("device") or "cpu")
        if func is torch.ops.aten._to_copy.default and args[0].is_meta and "device" in kwargs:
            if target.type == "cpu":
                dtype = kwargs.get("dtype") or args[0].dtype
                return self.left(args[0].shape).to(dtype)
        found = func(*args, **kwargs)
        for one in found if isinstance(found, tuple | list) else (found,):
            if isinstance(one, Tensor) and one.is_meta and one.dtype == torch.float64:
                raise TypeError("the device has no float64")
        return found


@pytest.fixture
def _no_float64(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(accumulation, "WITHOUT_FLOAT64", {DEVICE})
    with WithoutFloat64():
        yield


@pytest.mark.usefixtures("_no_float64")
def test_accumulation_works_on_a_device_without_float64():
    def on_device(*shape: int) -> Tensor:
        return torch.empty(*shape, device=DEVICE)

    with pytest.raises(TypeError, match="no float64"):
        on_device(3).double()
    assert wide(on_device(3)).dtype == torch.float64
    assert float(wide_sum(on_device(3))) == 3.0

    mean, fitter = ClusteredMean(), CKAFitter()
    mean.update(on_device(2, 3))
    assert mean.result().value == 1.0
    fitter.update(on_device(6, 4), on_device(6, 5))
    assert fitter.result().n_rows == 6
    minibatch = MinibatchCKA([("x", "y")], group_rows=8)
    minibatch.update({"x": on_device(8, 4), "y": on_device(8, 4)})
    assert minibatch.results()["x", "y"].n_rows == 8
    low = LowRank(on_device(2, 5), on_device(3, 2), 1.0)
    assert gram([low]).item() == 5 * 3 * 2 * 2
    assert recompress(low, rank=1).matrix.a.device.type == DEVICE


def test_ranks_are_taken_wherever_the_values_are():
    with WithoutFloat64(lambda shape: torch.arange(shape.numel()).view(shape)):
        kept = largest(torch.empty(6, device=DEVICE), 2)
    assert kept.device.type == DEVICE


def test_where_a_device_has_float64_values_stay_on_it():
    values = torch.tensor([1.0, 2.0], device=DEVICE)
    assert wide(values).device.type == wide_sum(values).device.type == DEVICE


def test_one_place_decides_where_float64_is_used():
    other = [
        str(path.relative_to(PROJECT))
        for package in ("lm_merge", "analyses")
        for path in (PROJECT / package).rglob("*.py")
        if ".double()" in (text := path.read_text()) or "sum(dtype=torch.float64" in text
    ]
    assert other == ["lm_merge/accumulation.py"]
