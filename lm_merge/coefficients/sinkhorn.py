"""Similarities balanced by rows and columns, which gives hubs (near to many) less weight."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

SMALL = 1e-9  # keeps rows without any entry at 0


def sinkhorn(
    similarity: Float[ndarray, "n n"], *, row_top_k: int = 20, steps: int = 20
) -> Float[ndarray, "n n"]:
    r"""Weights >= 0 whose columns sum to 1 and whose rows nearly do.

    The diagonal is set to 0, as are the entries of each row below its k-th largest (ties keep more);
    then, `steps` times, rows and columns are divided by their sums. It ends with columns: a caller
    divides a row by its sum again. Raises ValueError for a negative similarity off the diagonal, or k
    or steps below 1. Source: Sinkhorn and Knopp (1967).
    """
    if row_top_k < 1 or steps < 1:
        raise ValueError(f"row_top_k={row_top_k} and sinkhorn_steps={steps} must be at least 1")
    weights = similarity.astype(float).copy()
    np.fill_diagonal(weights, 0.0)
    if (weights < 0).any():
        raise ValueError(
            f"similarity {weights.min():g} is negative; sinkhorn needs values of at least 0, such as "
            "(1 + cosine) / 2 (affine: true)"
        )
    if row_top_k < len(weights):
        least = -np.partition(-weights, row_top_k - 1, axis=1)[:, row_top_k - 1 : row_top_k]
        weights[weights < least] = 0.0
    for _ in range(steps):
        weights /= weights.sum(axis=1, keepdims=True) + SMALL
        weights /= weights.sum(axis=0, keepdims=True) + SMALL
    return weights
