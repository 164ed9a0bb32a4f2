"""A host that runs with merged updates: added to outputs by hooks, or put into its weights."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import embedding, linear
from torch.utils.checkpoint import checkpoint

from lm_merge.models.adapters.running import add_update, is_transposed, place_of_update
from lm_merge.operators.low_rank import LowRank


class StackedUpdate:
    """All sources' updates of one module, stacked, with a coefficient a row that may change at any time.

    The factors are the sources' own values, so memory grows by them only.
    """

    def __init__(self, module: nn.Module, updates: Sequence[LowRank]) -> None:
        device, dtype = place_of_update(module)
        own = [update.to(device, dtype) for update in updates]
        self.a = torch.cat([one.a for one in own])
        self.b = torch.cat([one.b for one in own], dim=1)
        self._ranks = torch.tensor([one.rank for one in own])
        self._scales = torch.tensor([one.scale for one in own], dtype=torch.float64)
        self.coefficients: Float[Tensor, " rank"] | None = None

    def set_row(self, row: Float[Tensor, " n_sources"]) -> None:
        """Give each source its coefficient; None is kept where all are 0, and nothing is added."""
        if not row.requires_grad and not bool(row.any()):
            self.coefficients = None
            return
        scaled = row * self._scales.to(row.device, row.dtype)
        ranks = self._ranks.to(row.device)
        self.coefficients = scaled.repeat_interleave(ranks).to(self.a.device, self.a.dtype)

    def hook(self, module: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor | None:
        """Forward hook: the module's output with the update added; None leaves it as it is."""
        if self.coefficients is None:
            return None
        return add_update(output, given[0], self.a, self.b, self.coefficients)


class StreamedUpdate:
    """The sum of one module's updates that are full matrices, times coefficients with gradients.

    matrices: gives them, [n_sources, d_out, d_in]. They are built for this module alone, in the forward
    pass and again in the backward pass, so memory grows by those of one module.
    """

    def __init__(self, matrices: Callable[[], Tensor], row: Float[Tensor, " n_sources"]) -> None:
        self.matrices, self.row = matrices, row

    def hook(self, module: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        """Forward hook: the module's output with the sum added."""
        added = checkpoint(self._added, given[0], self.row, use_reentrant=False)
        return output + added.to(output.dtype)

    def _added(self, given: Tensor, row: Float[Tensor, " n_sources"]) -> Tensor:
        matrices = self.matrices().to(given.device)
        update = torch.tensordot(row.to(matrices), matrices, dims=1)
        if given.is_floating_point():
            return linear(given.to(update.dtype), update)
        return embedding(given, update.mT)


@contextmanager
def hooked_updates(
    modules: Mapping[str, nn.Module], updates: Mapping[str, StackedUpdate | StreamedUpdate]
) -> Iterator[None]:
    """Inside, every module adds its update, before a hook of the user's own sees the output."""
    with ExitStack() as stack:
        for key, module in modules.items():
            handle = module.register_forward_hook(updates[key].hook, prepend=True)
            stack.callback(handle.remove)
        yield


@contextmanager
def replaced_tensors(
    parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]
) -> Iterator[None]:
    """Inside, parameters hold other values; outside, their own storage again, bit for bit.

    Every module that shares a parameter sees the change, so both views of a model do.
    """
    kept = {key: parameters[key].data for key in values}
    try:
        for key, value in values.items():
            parameters[key].data = value
        yield
    finally:
        for key, own in kept.items():
            parameters[key].data = own


def merged_weight(module: nn.Module, update: Float[Tensor, "d_out d_in"]) -> Tensor:
    """A module's weight plus an update, summed in float32 or wider, in the weight's own dtype.

    Raises ValueError for values beyond that dtype and for packed (quantised) weights.
    """
    weight: Any = module.weight
    turned = update.mT if is_transposed(module) else update
    if not weight.is_floating_point() or weight.shape != turned.shape:
        raise ValueError(
            f"a {type(module).__name__} keeps its weight packed, so an update cannot be put into it; "
            "use a method whose result is low rank, or load the base unquantised"
        )
    wide = torch.promote_types(weight.dtype, torch.float32)
    merged = (weight.detach().to(wide) + turned.to(weight.device, wide)).to(weight.dtype)
    if not merged.isfinite().all():
        raise ValueError(
            f"the merged weight is not finite in {weight.dtype}; lower the coefficients"
        )
    return merged
