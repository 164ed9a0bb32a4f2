"""One forward pass of a merged host: what the donors said, what is merged, what went wrong."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lm_merge.coefficients import Alpha, constant_weights, gate_weights
from lm_merge.operators import get_operator


class NonFiniteMerge(ArithmeticError):
    """A merged state that is NaN or infinite."""


@dataclass(frozen=True)
class StateMerge:
    """An operator with the donors' shares of alpha: host and donor states in, merged state out.

    Computes in float32 (or the states' wider dtype) and gives the host's dtype and device.
    """

    operator: str
    shares: tuple[float, ...]
    operator_args: dict[str, Any]

    def __post_init__(self) -> None:
        known = list(inspect.signature(get_operator(self.operator)).parameters)[2:]
        unknown = sorted(set(self.operator_args) - set(known) | set(self.operator_args) & {"base"})
        if unknown:
            raise TypeError(f"operator {self.operator!r} takes no argument {', '.join(unknown)}")

    def __call__(
        self, alpha: Alpha, host: Tensor, donors: Sequence[Tensor], base: Tensor | None = None
    ) -> Tensor:
        """Merged state [batch, pos, d_model]; where alpha is 0 it is the host's own value."""
        wide = torch.promote_types(host.dtype, torch.float32)
        states = torch.stack([state.to(host.device, wide) for state in (host, *donors)])
        run = partial(get_operator(self.operator), **self.operator_args)
        if base is not None:
            run = partial(run, base=base.to(host.device, wide))
        if not callable(alpha):
            return run(states, constant_weights(alpha, self.shares, host.to(wide))).to(host.dtype)
        values = self._gate(alpha, states)
        merged = run(states, gate_weights(values, self.shares)).to(host.dtype)
        return torch.where(values == 0, host, merged)

    def _gate(self, gate: Any, states: Tensor) -> Tensor:
        shares = torch.tensor(self.shares, dtype=states.dtype, device=states.device)
        donor = torch.tensordot(shares, states[1:], dims=1)
        values = gate(states[0], donor)
        expected = (*states.shape[1:-1], 1)
        if not isinstance(values, Tensor) or tuple(values.shape) != expected:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"the gate {gate!r} gave {got}; it must give alpha for every token, shape {expected}"
            )
        return values.to(states)


@dataclass
class LatentPass:
    """State of one forward pass of the host, from its first block to its last."""

    merged_at: Tensor | None  # [batch or 1, pos]: tokens to merge; None: all
    real: Tensor | None  # [batch, pos]: tokens that are no padding; None: all
    not_finite: dict[int, Tensor] = field(default_factory=dict)

    def select(self, host: Tensor, merged: Tensor) -> Tensor:
        """The merged state where tokens are merged, the host's elsewhere and in padding."""
        for mask in (self.merged_at, self.real):
            if mask is not None:
                merged = torch.where(mask.to(host.device).unsqueeze(-1), merged, host)
        return merged

    def note(self, layer: int, merged: Tensor) -> None:
        """Flag tokens whose merged state is not finite; stays on the device."""
        self.not_finite[layer] = ~torch.isfinite(merged).all(dim=-1)

    def raise_if_not_finite(self) -> None:
        """Read the flags once, for all layers; NonFiniteMerge names the first layer and position."""
        if not self.not_finite:
            return
        device = next(iter(self.not_finite.values())).device
        flags = torch.stack([flag.any().to(device) for flag in self.not_finite.values()])
        if not flags.any():
            return
        layer = list(self.not_finite)[int(flags.int().argmax())]
        row, position = self.not_finite[layer].nonzero()[0].tolist()
        raise NonFiniteMerge(
            f"the merged state is not finite at layer={layer}, row {row}, position {position} of this "
            "pass: the models' states there may be opposite, zero or infinite, or a gate gave NaN; "
            "try lerp, another layer, or a wider dtype"
        )
