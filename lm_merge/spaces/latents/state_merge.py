"""An operator applied to the states of host and donors."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.coefficients import constant_weights, gate_weights
from lm_merge.operators import get_operator


@dataclass(frozen=True)
class StateMerge:
    """An operator on host and donor states, whatever their dtypes and devices.

    Computes in float32 (or the states' wider dtype) and gives the host's dtype and device.
    """

    operator: str
    operator_args: dict[str, Any]

    def __post_init__(self) -> None:
        known = list(inspect.signature(get_operator(self.operator)).parameters)[2:]
        unknown = sorted(set(self.operator_args) - set(known) | set(self.operator_args) & {"base"})
        if unknown:
            raise TypeError(f"operator {self.operator!r} takes no argument {', '.join(unknown)}")

    def __call__(
        self,
        alpha: float | Tensor,
        shares: Sequence[float],
        host: Tensor,
        donors: Sequence[Tensor],
        base: Tensor | None = None,
        merged_at: Tensor | None = None,
    ) -> Tensor:
        """Merged state [batch, pos, d_model]; where alpha is 0 it is the host's own value.

        alpha: a number, or one a token [batch, pos, 1]; shares: the donors' parts of it.
        merged_at [batch, pos, 1]: tokens whose result is used; None for all.
        """
        wide = torch.promote_types(host.dtype, torch.float32)
        states = _stacked(host, donors)
        if isinstance(alpha, Tensor):
            merged_at = alpha != 0 if merged_at is None else merged_at & (alpha != 0)
        if merged_at is not None and torch.is_grad_enabled():
            states = torch.where(merged_at, states, 1.0)  # else NaN from there reaches gradients
        run = self._operator(host, base)
        if not isinstance(alpha, Tensor):
            return run(states, constant_weights(alpha, shares, states[0])).to(host.dtype)
        merged = run(states, gate_weights(alpha.to(wide), shares)).to(host.dtype)
        return torch.where(alpha == 0, host, merged)

    def by_weights(
        self,
        weights: Float[Tensor, " n_models"],
        host: Tensor,
        donors: Sequence[Tensor],
        base: Tensor | None = None,
    ) -> Tensor:
        """The same from the models' weights on the device, host first; alpha 0 is the caller's to see.

        weights: in the wider of float32 and the states' dtype.
        """
        row = weights.view(-1, *(1,) * host.ndim)
        return self._operator(host, base)(_stacked(host, donors), row).to(host.dtype)

    def _operator(self, host: Tensor, base: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
        run = partial(get_operator(self.operator), **self.operator_args)
        if base is None:
            return run
        return partial(
            run, base=base.to(host.device, torch.promote_types(host.dtype, torch.float32))
        )


def _stacked(host: Tensor, donors: Sequence[Tensor]) -> Tensor:
    wide = torch.promote_types(host.dtype, torch.float32)
    return torch.stack([state.to(host.device, wide) for state in (host, *donors)])
