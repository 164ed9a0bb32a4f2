"""Win rate at equal length: judges like long answers, so the length difference is regressed out."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from sklearn.linear_model import LogisticRegression


def rate_at_equal_length(
    scores: Float[ndarray, " pairs"], length_difference: Float[ndarray, " pairs"]
) -> float:
    r"""Win rate that a logistic regression predicts for answers of equal length, in (0, 1).

    $P(\text{win}) = \sigma(a + b\,z)$ with $z = \tanh(\Delta / s)$, $\Delta$ the length difference
    (system less other, any unit) and $s$ its root mean square; the result is $\sigma(a)$. A score of u
    enters as a win of weight u and a loss of weight 1 - u. No penalty. Where all lengths are equal it
    is the mean score. NaN without pairs, and where a threshold on the length separates all wins from
    all losses, since the fit then has no maximum. Source: Dubois et al. (2024), arXiv 2404.04475,
    without its terms for single questions and models.
    """
    if len(scores) == 0:
        return float("nan")
    spread = float(np.sqrt(np.mean(length_difference**2)))
    if spread == 0:
        return float(scores.mean())
    z = np.tanh(length_difference / spread)
    if _separated(z, scores):
        return float("nan")
    covariate = np.concatenate([z, z])[:, None]
    won = np.repeat([1, 0], len(z))
    weight = np.concatenate([scores, 1 - scores])
    fit = LogisticRegression(C=np.inf, tol=1e-8, max_iter=10_000).fit(
        covariate[weight > 0], won[weight > 0], sample_weight=weight[weight > 0]
    )
    return float(fit.predict_proba([[0.0]])[0, 1])


def _separated(z: ndarray, scores: ndarray) -> bool:
    """Whether wins and losses lie on two sides of a threshold (touching allowed), or one is absent."""
    wins, losses = z[scores > 0], z[scores < 1]
    if len(wins) == 0 or len(losses) == 0:
        return True
    return bool(wins.min() >= losses.max() or losses.min() >= wins.max())
