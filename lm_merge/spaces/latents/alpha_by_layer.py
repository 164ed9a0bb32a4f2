"""Which blocks are merged, with how much of the donors: what the user wrote, checked."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from lm_merge.coefficients import Alpha

Layers = Mapping[int, Alpha] | Sequence[int]


def layer_schedule(layers: Any, alpha: Any) -> dict[int, Alpha]:
    """Alpha of each merged block, blocks in rising order, from whatever the user gave.

    Raises ValueError for no layer, a layer twice or of no model, and for an alpha that is missing,
    given twice, or not finite.
    """
    if isinstance(layers, Mapping):
        if alpha is not None:
            raise ValueError(
                f"alpha={alpha} and layers={dict(layers)} both give the donors' weight; "
                "give a list of layers with alpha, or layers with an alpha each"
            )
        schedule = dict(layers)
    elif isinstance(layers, str) or not isinstance(layers, Iterable):
        raise ValueError(f"layers={layers!r} is no list of blocks; give [3], or {{3: alpha}}")
    else:
        named = list(layers)
        if alpha is None:
            raise ValueError(
                f"layers={named} come without alpha; give alpha=0.5, say, or {{layer: alpha}}"
            )
        if len(set(named)) < len(named):
            raise ValueError(f"layers={named} names a layer twice")
        schedule = dict.fromkeys(named, alpha)
    if not schedule:
        raise ValueError("layers is empty; name at least one block")
    for layer in schedule:
        if isinstance(layer, bool) or not isinstance(layer, Integral) or layer < 0:
            raise ValueError(f"layer={layer!r} is no block; blocks are whole numbers from 0")
    return {int(layer): plain_alpha(schedule[layer]) for layer in sorted(schedule)}


def check_within(schedule: Mapping[int, Alpha], n_layers: int, host_name: str) -> None:
    """Raise ValueError for a block that the host does not have."""
    for layer in schedule:
        if layer >= n_layers:
            raise ValueError(f"layer={layer} is outside 0..{n_layers - 1} for host {host_name!r}")


def plain_alpha(alpha: Any) -> Any:
    """Alpha as a float, or the callable that it is; ValueError for anything else."""
    if callable(alpha):
        return alpha
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not math.isfinite(alpha):
        raise ValueError(
            f"alpha={alpha!r} is neither a finite number (0 host .. 1 donor) nor a gate "
            "(a callable of host and donor states)"
        )
    return float(alpha)
