"""Linear centred kernel alignment (CKA) of paired rows, exact, at once or streamed over batches.

Rows are samples (tokens, say) and must be reported with every value: the biased estimator rises
towards 1 as the number of rows falls below the width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.accumulation import wide

Estimator = Literal["biased", "debiased"]
ESTIMATORS: tuple[Estimator, ...] = ("biased", "debiased")
MIN_ROWS = {"biased": 2, "debiased": 4}


@dataclass(frozen=True)
class CKA:
    """Linear CKA of two sets of paired rows.

    biased: published form, in [0, 1]; debiased: from U-statistics, at most 1, about 0 for
    independent rows (may fall below); n_rows: how many rows went in. NaN where undefined.
    """

    biased: float
    debiased: float
    n_rows: int


class CKAFitter:
    r"""Streams paired rows and gives exactly the CKA of all rows, whatever the batches were.

    Memory is three [d, d] matrices in float64, whatever the number of rows; where that is too much,
    or many sets are compared at once, `MinibatchCKA` estimates the same. biased:
    $\|X_c^\top Y_c\|_F^2 / (\|X_c^\top X_c\|_F\,\|Y_c^\top Y_c\|_F)$ over centred rows (Kornblith et al.
    2019). debiased: the same quotient of $\mathrm{HSIC}_1$, the U-statistic of Song et al. (2012), for
    the linear kernel, written in moments of the rows so that no [n, n] matrix is formed (ours;
    the tests hold it equal to the [n, n] form). All rows are shifted by the first batch's
    mean, which changes no centred quantity and keeps large common offsets out of the sums.

    >>> import torch
    >>> fitter, rows = CKAFitter(), torch.eye(8)
    >>> for batch in rows.split(2):
    ...     fitter.update(batch, 2 * batch)
    >>> fitter.result().n_rows, round(fitter.result().biased, 4)
    (8, 1.0)
    """

    def __init__(self) -> None:
        self._cross, self._x, self._y = _Moments(), _Moments(), _Moments()
        self._pivots: tuple[Tensor, Tensor] | None = None

    def update(self, x: Float[Tensor, "n d_x"], y: Float[Tensor, "n d_y"]) -> None:
        """Add paired rows; products are taken in float32 or the rows' wider dtype."""
        wide = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        x, y = x.detach().to(wide), y.detach().to(wide)
        if self._pivots is None:
            self._pivots = x.mean(dim=0), y.mean(dim=0)
        x, y = x - self._pivots[0], y - self._pivots[1]
        for total, one, other in ((self._cross, x, y), (self._x, x, x), (self._y, y, y)):
            total.add(_Moments.of(one, other))

    def result(self) -> CKA:
        """CKA of all rows so far; NaN where undefined (too few or constant rows)."""
        n_rows = self._cross.n_rows
        values = {
            estimator: float("nan")
            if n_rows < MIN_ROWS[estimator]
            else alignment(*(part.hsic(estimator) for part in (self._cross, self._x, self._y)))
            for estimator in ESTIMATORS
        }
        return CKA(**values, n_rows=n_rows)


def linear_cka(
    x: Float[Tensor, "n d_x"], y: Float[Tensor, "n d_y"], estimator: str = "debiased"
) -> float:
    """Linear CKA of paired rows; `CKAFitter` has the formulas.

    Raises ValueError for an unknown estimator or too few rows (2 biased, 4 debiased).

    >>> import torch
    >>> x = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    >>> rotation = torch.linalg.qr(x[:8]).Q
    >>> round(linear_cka(x, 3 * x @ rotation), 4)  # neither rotation nor scale matters
    1.0
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator={estimator!r} is unknown; choose from {', '.join(ESTIMATORS)}")
    if len(x) < MIN_ROWS[estimator]:
        raise ValueError(
            f"n={len(x)} rows are too few for {estimator} CKA; give {MIN_ROWS[estimator]}"
        )
    fitter = CKAFitter()
    fitter.update(x, y)
    return getattr(fitter.result(), estimator)


def alignment(xy: float, xx: float, yy: float) -> float:
    """CKA of three HSICs, xy / sqrt(xx yy); NaN unless both xx and yy are positive."""
    return xy / (xx * yy) ** 0.5 if xx > 0 and yy > 0 else float("nan")


class _Moments:
    """Sums over rows from which either HSIC of the kernels k_ij = x_i.x_j and l_ij = y_i.y_j follows."""

    def __init__(self) -> None:
        self.n_rows = 0
        self.sums: tuple[Tensor, ...] | None = None

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> "_Moments":
        k, n = (x * x).sum(dim=1), (y * y).sum(dim=1)
        terms = (
            x.T @ y,  # cross-product [d_x, d_y]
            x.sum(dim=0),
            y.sum(dim=0),
            k.sum(),
            n.sum(),
            k @ y,  # sum_i k_ii y_i
            n @ x,  # sum_i l_ii x_i
            k @ n,  # sum_i k_ii l_ii
        )
        moments = cls()
        moments.n_rows = len(x)
        moments.sums = tuple(map(wide, terms))
        return moments

    def add(self, other: "_Moments") -> None:
        assert other.sums is not None
        self.n_rows += other.n_rows
        if self.sums is None:
            self.sums = other.sums
        else:
            self.sums = tuple(a + b for a, b in zip(self.sums, other.sums, strict=True))

    def hsic(self, estimator: Estimator) -> float:
        assert self.sums is not None  # result() has checked the number of rows
        n = self.n_rows
        cross, sum_x, sum_y, trace_k, trace_l, k_y, l_x, k_l = self.sums
        if estimator == "biased":
            return float((cross - torch.outer(sum_x, sum_y) / n).square().sum())
        # with the diagonals of K and L removed: tr(KL), 1'K1, 1'L1 and 1'KL1
        trace_product = cross.square().sum() - k_l
        total_k, total_l = sum_x @ sum_x - trace_k, sum_y @ sum_y - trace_l
        row_product = sum_x @ cross @ sum_y - k_y @ sum_y - l_x @ sum_x + k_l
        statistic = (
            trace_product + total_k * total_l / ((n - 1) * (n - 2)) - 2 * row_product / (n - 2)
        )
        return float(statistic / (n * (n - 3)))
