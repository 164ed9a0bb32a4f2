"""One forward pass of a merged host: which tokens are merged, and which states were not finite."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.coefficients import Gate, wants_generated
from lm_merge.spaces.non_finite import NonFiniteMerge


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

    @classmethod
    def unmerged(cls, like: "LatentPass") -> "LatentPass":
        """A pass over the same tokens in which nothing is merged."""
        return cls(like.merged_at, like.real, like.generated, like.n_before)

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

    def chosen(self, host: Tensor) -> Tensor | None:
        """Tokens to merge, [batch, pos, 1]; None for all."""
        if self.merged_at is None and self.real is None:
            return None
        ones = torch.ones(*host.shape[:-1], 1, dtype=torch.bool, device=host.device)
        return self.select(torch.zeros_like(ones), ones)

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
