"""Several tests at once."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray


def holm(p_values: Sequence[float] | Float[ndarray, " tests"]) -> Float[ndarray, " tests"]:
    r"""Holm's adjusted p-values, in the order given: $\max_{j \le i} (k - j + 1)\,p_{(j)}$, at most 1.

    A test whose adjusted value is at most the level may be called significant while the chance of any
    false one among all k stays below the level, however the tests depend on each other. NaN marks
    a test that could not be made; it stays NaN and is not counted in k. Raises ValueError outside
    [0, 1]. Source: Holm (1979).

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    found = np.array(p_values, dtype=float)
    made = np.flatnonzero(~np.isnan(found))
    if ((found[made] < 0) | (found[made] > 1)).any():
        raise ValueError(f"p_values={found.tolist()}: p-values lie in [0, 1]")
    order = made[np.argsort(found[made], kind="stable")]
    steps = np.arange(len(order), 0, -1) * found[order]
    found[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return found
