"""Alpha as a recorded step reads it: numbers on the device, and gates that are functions of tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lm_merge.caches.static_cache import MergeStaticCache
from lm_merge.coefficients import AgreementGate, Alpha, ConfidenceGate, Gate, ScheduleGate
from lm_merge.models import HookedLM


class LatentStaticCache(MergeStaticCache):
    """The caches of host and donors, and which merged states were not finite.

    not_finite: merged block -> [batch, n_columns].
    """

    not_finite: dict[int, Tensor]


@dataclass
class NumberOnDevice:
    """A block's alpha where a recorded step reads it: the models' weights, and whether alpha is 0."""

    weights: Tensor  # [n_models], host first
    is_zero: Tensor  # [1, 1, 1]

    def set(self, alpha: float, shares: Sequence[float]) -> None:
        """Write a new alpha; the step that runs next reads it."""
        row = (1 - alpha, *(alpha * share for share in shares))
        self.weights.copy_(torch.tensor(row, dtype=self.weights.dtype))
        self.is_zero.fill_(alpha == 0)


def is_of_tensors(gate: Any) -> bool:
    """Whether a gate is a function of tensors alone, as this library's own are."""
    if isinstance(gate, ConfidenceGate):
        readouts = (gate.host_readout, gate.donor_readout)
        return all(getattr(one, "__func__", None) is HookedLM.readout for one in readouts)
    return isinstance(gate, AgreementGate | ScheduleGate)


def gates_of(layers: Mapping[int, Alpha]) -> dict[int, Gate]:
    """The blocks whose alpha is a gate."""
    return {layer: alpha for layer, alpha in layers.items() if callable(alpha)}


def held(alpha: Alpha) -> Any:
    """What a recording holds of an alpha: a gate's settings; None for a number."""
    if isinstance(alpha, ScheduleGate):
        return tuple(alpha.values), alpha.prompt
    return alpha if callable(alpha) else None
