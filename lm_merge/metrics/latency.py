"""After how many tokens something holds, and goes on holding: rules over a series."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

SAME_GAP_NATS = 1e-3  # mean divergence of the references below which a gap is undefined


@dataclass(frozen=True)
class Latency:
    """Tokens from the injection until a rule holds; 0 is a latency.

    happened: False where it does not hold within the series, and tokens is then the series' length
    (censored). opportunities: diagnostic tokens up to there.
    """

    tokens: int
    happened: bool
    opportunities: int


def first_run(holds: Bool[ndarray, " pos"], counts: Bool[ndarray, " pos"], window: int) -> Latency:
    """First counted place at which a rule holds, and at the next window - 1 counted places, too.

    counts: places that are looked at (diagnostic tokens); the others are passed over. A run that the end
    cuts off does not count.

    >>> import numpy as np
    >>> first_run(np.array([False, True, False, True, True]), np.ones(5, dtype=bool), 2)
    Latency(tokens=3, happened=True, opportunities=3)
    """
    if window < 1:
        raise ValueError(f"window={window}: give 1 or more tokens")
    places = np.flatnonzero(counts)
    kept = holds[places]
    for start in range(len(places) - window + 1):
        if kept[start : start + window].all():
            return Latency(int(places[start]), True, start)
    return Latency(len(holds), False, len(places))


def settled(values: Float[ndarray, " pos"], tolerance: float = 0.05) -> Latency:
    """First place from which the series stays within the tolerance of the mean of its last quarter.

    Undefined values are passed over. Censored where the last value is outside, or none is defined.
    """
    defined = np.flatnonzero(np.isfinite(values))
    if len(defined) == 0:
        return Latency(len(values), False, 0)
    kept = values[defined]
    final = kept[-max(1, math.ceil(len(kept) / 4)) :].mean()
    outside = np.flatnonzero(np.abs(kept - final) > tolerance)
    start = 0 if len(outside) == 0 else int(outside[-1]) + 1
    if start == len(kept):
        return Latency(len(values), False, len(kept))
    return Latency(int(defined[start]), True, start)


def adaptation_gap(to_injected: Float[ndarray, " pos"], between: Float[ndarray, " pos"]) -> float:
    """Sum of KL(p, p1) over sum of KL(p0, p1): 0 as the oracle, 1 as if ignored, above 1 disturbed.

    Places where either is not finite are left out. NaN where the references are one: mean KL(p0, p1)
    below 1e-3 nats.
    """
    kept = np.isfinite(to_injected) & np.isfinite(between)
    if not kept.any() or between[kept].mean() < SAME_GAP_NATS:
        return math.nan
    return float(to_injected[kept].sum() / between[kept].sum())
