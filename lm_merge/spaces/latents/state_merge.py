"""One forward pass of a merged host: what the donors said, what is merged, what went wrong."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.coefficients import Gate, constant_weights, gate_weights, wants_generated
from lm_merge.operators import get_operator


class NonFiniteMerge(ArithmeticError):
    """A merged state that is NaN or infinite."""


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
    ) -> Tensor:
        """Merged state [batch, pos, d_model]; where alpha is 0 it is the host's own value.

        alpha: a number, or one a token [batch, pos, 1]; shares: the donors' parts of it.
        """
        wide = torch.promote_types(host.dtype, torch.float32)
        states = torch.stack([state.to(host.device, wide) for state in (host, *donors)])
        run = partial(get_operator(self.operator), **self.operator_args)
        if base is not None:
            run = partial(run, base=base.to(host.device, wide))
        if not isinstance(alpha, Tensor):
            return run(states, constant_weights(alpha, shares, states[0])).to(host.dtype)
        merged = run(states, gate_weights(alpha.to(wide), shares)).to(host.dtype)
        return torch.where(alpha == 0, host, merged)


@dataclass
class LatentPass:
    """State of one forward pass of the host, from its first block to its last.

    merged_at [batch or 1, pos]: tokens to merge, None for all. real [batch, pos]: tokens that are no
    padding, None for all. generated [batch or 1, pos]: a token's place in the generated text, 0 for
    the last prompt token, below 0 in the prompt. n_before: columns that came in earlier passes.
    """

    merged_at: Tensor | None
    real: Tensor | None
    generated: Tensor
    n_before: int
    donors_ran: bool = False
    not_finite: dict[int, Tensor] = field(default_factory=dict)

    def open_gate(
        self, gate: Gate, shares: Sequence[float], host: Tensor, donors: Sequence[Tensor]
    ) -> Float[Tensor, "batch pos 1"]:
        """Alpha of every token: the gate's value where tokens are merged, 0 elsewhere.

        The gate sees the host's state and the donors' mean by shares, in float32.
        """
        wide = torch.promote_types(host.dtype, torch.float32)
        mean = sum(
            share * donor.to(host.device, wide) for share, donor in zip(shares, donors, strict=True)
        )
        extra = {}
        if wants_generated(gate):
            extra["generated"] = self.generated.to(host.device).expand(host.shape[:-1])
        values: Any = gate(host.to(wide), mean, **extra)  # pyright: ignore[reportCallIssue]
        expected = (*host.shape[:-1], 1)
        if not isinstance(values, Tensor) or tuple(values.shape) != expected:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"the gate {gate!r} gave {got}; it must give alpha for every token, shape {expected}"
            )
        values = values.to(host.device, wide)
        return self.select(torch.zeros_like(values), values)

    def select(self, host: Tensor, merged: Tensor) -> Tensor:
        """The merged state where tokens are merged, the host's elsewhere and in padding."""
        for mask in (self.merged_at, self.real):
            if mask is not None:
                merged = torch.where(mask.to(host.device).unsqueeze(-1), merged, host)
        return merged

    def note(self, layer: int, merged: Tensor) -> None:
        """Flag tokens whose merged state is not finite; stays on the device."""
        self.not_finite[layer] = ~torch.isfinite(merged).all(dim=-1)


def raise_if_not_finite(passes: Sequence[LatentPass]) -> None:
    """Read all flags of passes at once; NonFiniteMerge names the first pass's layer and position.

    The one point where a merge waits for the device. Positions are columns of the whole sequence,
    padding included.
    """
    flags = [(one, layer, flag) for one in passes for layer, flag in one.not_finite.items()]
    if not flags:
        return
    device = flags[0][2].device
    bad = torch.stack([flag.any().to(device) for _, _, flag in flags])
    if not bad.any():
        return
    one, layer, flag = flags[int(bad.int().argmax())]
    row, position = flag.nonzero()[0].tolist()
    raise NonFiniteMerge(
        f"the merged state is not finite at layer={layer}, row {row}, "
        f"position {one.n_before + position}: the models' states there may be opposite, zero or "
        "infinite, or a gate gave NaN; try lerp, another layer, or a wider dtype"
    )
