"""Means over tokens, with intervals in which the tokens of one text are one cluster."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.accumulation import wide
from lm_merge.statistics.intervals import student_interval


@dataclass(frozen=True)
class Mean:
    """A mean with its standard error; n values in n_clusters clusters (texts, say).

    n_effective: how many clusters of equal size would do as well, Kish's (sum n_c)^2 / sum n_c^2.
    """

    value: float
    standard_error: float
    n: int
    n_clusters: int
    n_effective: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Student's t interval with n_effective - 1 degrees of freedom; NaN for one cluster.

        With texts of 5 to 60 tokens and 4, 8, 16 texts it covers 95, 95, 95 % where 1.96 standard
        errors cover 81, 89, 93 %.
        """
        return student_interval(self.value, self.standard_error, self.n_effective - 1, confidence)

    def row(self) -> dict[str, float | int]:
        """value, standard_error, low, high (95 %) and n, as columns of a table."""
        low, high = self.interval()
        found = {"value": self.value, "standard_error": self.standard_error}
        return found | {"low": low, "high": high, "n": self.n}


class ClusteredMean:
    r"""Streams values by cluster; memory does not grow.

    Value: $\bar v = S / N$ with the clusters' sums $s_c$ and counts $n_c$. Standard error:
    $\frac{1}{N}\sqrt{\frac{C}{C-1}\sum_c(s_c - \bar v n_c)^2}$ (the ratio estimator of cluster
    sampling, Cochran 1977, section 9A.1), NaN for one cluster. NaN values are undefined and left
    out of sums and counts.

    >>> import torch
    >>> mean = ClusteredMean()
    >>> mean.update(torch.tensor([[1.0, 3.0], [5.0, torch.nan]]))  # two prompts, three tokens
    >>> mean.result().value, mean.result().n, mean.result().n_clusters
    (3.0, 3, 2)
    """

    def __init__(self) -> None:
        self._moments = torch.zeros(5, dtype=torch.float64)  # sums of s, n, s*s, s*n, n*n
        self._n_clusters = 0

    def update(self, values: Float[Tensor, "cluster n"]) -> None:
        """Add whole clusters, one a row; NaN where a row holds no value."""
        own = wide(values.detach())
        defined = ~own.isnan()
        counts = wide(defined.sum(dim=1))
        sums = torch.where(defined, own, 0.0).sum(dim=1)
        terms = (sums, counts, sums * sums, sums * counts, counts * counts)
        self._moments += torch.stack([term.sum() for term in terms]).cpu()
        self._n_clusters += int((counts > 0).sum())

    def result(self) -> Mean:
        """Mean of all values so far; NaN if there was none."""
        total, n, squares, cross, counts = self._moments.tolist()
        if n == 0:
            return Mean(float("nan"), float("nan"), 0, 0, 0.0)
        mean, clusters = total / n, self._n_clusters
        error = float("nan")
        if clusters > 1:
            spread = max(0.0, squares - 2 * mean * cross + mean * mean * counts)
            error = (clusters / (clusters - 1) * spread) ** 0.5 / n
        return Mean(mean, error, int(n), clusters, n * n / counts)
