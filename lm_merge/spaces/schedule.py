"""Which blocks are merged, with how much of the donors: what the user wrote, checked."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real

from lm_merge.coefficients import Alpha

Layers = Mapping[int, Alpha] | Sequence[int]


def layer_schedule(
    layers: Layers, alpha: Alpha | None, *, n_layers: int, host_name: str
) -> dict[int, Alpha]:
    """Alpha of each merged block, blocks in rising order.

    Raises ValueError for no layer, a layer twice or outside the model, and for an alpha that is
    missing, given twice, or not finite.
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
        if alpha is None:
            raise ValueError(
                f"layers={list(layers)} come without alpha; give alpha=0.5, say, or {{layer: alpha}}"
            )
        if len(set(layers)) < len(layers):
            raise ValueError(f"layers={list(layers)} names a layer twice")
        schedule = dict.fromkeys(layers, alpha)
    if not schedule:
        raise ValueError("layers is empty; name at least one block")
    for layer, value in schedule.items():
        if isinstance(layer, bool) or not isinstance(layer, Integral) or not 0 <= layer < n_layers:
            raise ValueError(f"layer={layer} is outside 0..{n_layers - 1} for host {host_name!r}")
        check_alpha(value)
    return {int(layer): schedule[layer] for layer in sorted(schedule)}


def check_alpha(alpha: Alpha) -> None:
    """Raise ValueError unless alpha is a finite number or a callable."""
    if callable(alpha):
        return
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not math.isfinite(alpha):
        raise ValueError(
            f"alpha={alpha!r} is neither a finite number (0 host .. 1 donor) nor a gate "
            "(a callable of host and donor states)"
        )
