"""How well components match what is known of a target: geometry of columns, patterns of importance."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lm_merge.accumulation import wide

LIVE_FRAC = 0.05  # a component is live if its norm is above this share of the largest


def live(norms: Float[Tensor, " n_components"]) -> Tensor:
    """Which components are live: norm |u_c| |v_c| above 5 % of the largest."""
    return norms > LIVE_FRAC * norms.max()


def best_components(
    U: Float[Tensor, "d_out n_components"],
    V: Float[Tensor, "n_components d_in"],
    W: Float[Tensor, "d_out d_in"],
) -> tuple[Float[Tensor, " d_in"], Float[Tensor, " d_in"]]:
    """For each column of W: its largest cosine with a live component's, and the ratio of their norms.

    The column of component c is u_c V[c, j]. Equal cosines are decided by the norm of the column.
    """
    columns = U.T.unsqueeze(-1) * V.unsqueeze(1)  # [n_components, d_out, d_in]
    lengths = columns.norm(dim=1)
    cosines = torch.nn.functional.cosine_similarity(columns, W.unsqueeze(0), dim=1)
    alive = live(U.norm(dim=0) * V.norm(dim=1))
    cosines = cosines.masked_fill(~alive.unsqueeze(-1), -1.0)
    top = cosines.max(dim=0).values
    tied = (cosines >= top - 1e-6) & alive.unsqueeze(-1)
    chosen = lengths.masked_fill(~tied, -1.0).argmax(dim=0)
    ratio = lengths.gather(0, chosen.unsqueeze(0)).squeeze(0) / W.norm(dim=0)
    return top, ratio


def mmcs(
    U: Float[Tensor, "d_out n_components"],
    V: Float[Tensor, "n_components d_in"],
    W: Float[Tensor, "d_out d_in"],
) -> float:
    """Mean over columns of W of the largest cosine with a live component's column, in [-1, 1].

    1: every column's direction is some component's. Source: Braun et al. (2025), arXiv 2501.14926; there
    all components take part, here the live ones.
    """
    return float(best_components(U, V, W)[0].mean())


def ml2r(
    U: Float[Tensor, "d_out n_components"],
    V: Float[Tensor, "n_components d_in"],
    W: Float[Tensor, "d_out d_in"],
) -> float:
    """Mean over columns of W of |u_k V[k, j]| / |W[:, j]| at the best live component k, in [0, inf].

    1: the best component holds the whole length of the column. Source: as `mmcs`.
    """
    return float(best_components(U, V, W)[1].mean())


def column_order(
    importances: Float[Tensor, "n_inputs n_components"],
) -> Int[np.ndarray, " n_components"]:
    """Order of components that puts the largest importances on the diagonal (optimal assignment).

    Components without an input follow, strongest first.
    """
    values = wide(importances.detach()).cpu().numpy()
    rows, columns = linear_sum_assignment(values, maximize=True)
    assigned = columns[np.argsort(rows)]
    others = np.setdiff1d(np.arange(values.shape[1]), assigned)
    by_strength = others[np.argsort(-values[:, others].max(axis=0), kind="stable")]
    return np.concatenate([assigned, by_strength])


def identity_error(
    importances: Float[Tensor, "n_inputs n_components"], n: int, tol: float = 0.1
) -> int:
    """Entries that depart from "one component for each input", by more than `tol`; 0: none.

    After `column_order`: entries off the diagonal above tol, further columns included, and diagonal
    entries below 1 - tol; a missing column counts as 0. n: number of inputs.
    """
    if importances.shape[0] != n:
        raise ValueError(f"{importances.shape[0]} inputs, but an identity of {n} is expected")
    values = importances.detach().cpu().numpy()[:, column_order(importances)]
    square = np.zeros((n, max(n, values.shape[1])))
    square[:, : values.shape[1]] = values
    diagonal = square[np.arange(n), np.arange(n)].copy()
    square[np.arange(n), np.arange(n)] = 0
    return int((square > tol).sum() + (diagonal < 1 - tol).sum())


def dense_error(
    importances: Float[Tensor, "n_inputs n_components"], k: int, tol: float = 0.1
) -> int:
    """Departures from "k components serve all inputs": 0 where exactly k columns ever exceed tol.

    Of the k strongest columns (by total) those that never exceed 1 - tol, plus the entries above tol in
    all others.
    """
    values = importances.detach().cpu()
    order = values.sum(dim=0).argsort(descending=True)
    strongest, others = values[:, order[:k]], values[:, order[k:]]
    strong = int((strongest.max(dim=0).values > 1 - tol).sum()) if k and len(order) else 0
    return k - strong + int((others > tol).sum())


def ci_l0(
    importances: Float[Tensor, "rows n_components"],
    weights: Float[Tensor, " rows"],
    threshold: float = 0.0,
) -> float:
    """Mean number of components with an importance above `threshold`, over weighted rows."""
    counts = (importances > threshold).sum(dim=-1)
    return float((counts * weights).sum() / weights.sum())
