"""Strengths of three or more systems from their pairwise scores."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import minimize
from scipy.sparse.csgraph import connected_components
from scipy.special import expit


def bradley_terry(
    wins: Float[ndarray, "systems systems"], names: Sequence[str] | None = None
) -> Float[ndarray, " systems"]:
    r"""Log-strengths s with mean 0 such that $P(i \text{ beats } j) = \sigma(s_i - s_j)$, in log-odds.

    wins[i, j]: how often i beat j, a tie as half a win for each. The maximum likelihood estimate,
    which exists only if no group of systems won every game against the rest (Ford 1957): otherwise
    this raises ValueError that names the group. Raises for fewer than three systems, too: for two the
    win rate says it all. Source: Bradley and Terry (1952).
    """
    names = [str(index) for index in range(len(wins))] if names is None else list(names)
    if len(wins) < 3:
        raise ValueError(f"{len(wins)} systems; Bradley-Terry scores need three or more")
    if (wins < 0).any() or not np.isfinite(wins).all():
        raise ValueError("wins holds negative or undefined counts")
    _check_connected(wins, names)
    games = wins + wins.T
    won = wins.sum(axis=1)

    def loss_and_gradient(strengths: ndarray) -> tuple[float, ndarray]:
        gaps = strengths[:, None] - strengths[None, :]
        log_chance = -np.logaddexp(0.0, -gaps)  # log of sigma, stable
        loss = -float((wins * log_chance).sum())
        return loss, (games * expit(gaps)).sum(axis=1) - won

    fit = minimize(
        loss_and_gradient,
        np.zeros(len(wins)),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-14, "gtol": 1e-9 * max(1.0, float(games.sum())), "maxiter": 10_000},
    )
    return fit.x - fit.x.mean()


def has_strengths(wins: Float[ndarray, "systems systems"]) -> bool:
    """Whether the estimate of `bradley_terry` exists: no group of systems won all its games."""
    return _winning_groups(wins)[0] == 1


def _check_connected(wins: ndarray, names: Sequence[str]) -> None:
    """From every system a chain of wins leads to every other; else say which group has none."""
    n_groups, group = _winning_groups(wins)
    if n_groups == 1:
        return
    for index in range(n_groups):
        inside = group == index
        if not wins[np.ix_(~inside, inside)].any():  # nobody outside ever beat one inside
            members = ", ".join(name for name, here in zip(names, inside, strict=True) if here)
            raise ValueError(
                f"nothing outside the group ({members}) ever won or tied against it, so its "
                "strength has no bound; leave it out, or judge more pairs"
            )


def _winning_groups(wins: ndarray) -> tuple[int, ndarray]:
    """Number of groups within which chains of wins lead from each to each, and every system's group."""
    return connected_components(wins > 0, directed=True, connection="strong")
