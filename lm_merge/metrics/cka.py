"""Linear centred kernel alignment (CKA) of paired rows, at once or streamed over batches.

Rows are samples (tokens, say) and must be reported with every value: the biased estimator rises
towards 1 as the number of rows falls below the width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Estimator = Literal["biased", "debiased"]
ESTIMATORS: tuple[Estimator, ...] = ("biased", "debiased")
MIN_ROWS = {"biased": 2, "debiased": 4}


@dataclass(frozen=True)
class CKA:
    """Linear CKA of two sets of paired rows.

    biased: published form, in [0, 1]; debiased: from U-statistics, at most 1, about 0 for
    independent rows (may fall below); n_rows: how many rows went in; debiased_standard_error: by
    leaving out one batch at a time, NaN for fewer than two batches of four rows.
    """

    biased: float
    debiased: float
    n_rows: int
    debiased_standard_error: float


class CKAFitter:
    r"""Streams rows and gives exactly the CKA of all of them, whatever the batches were.

    Memory is a few [d_x, d_y] matrices, whatever the number of rows. biased:
    $\|X_c^\top Y_c\|_F^2 / (\|X_c^\top X_c\|_F\,\|Y_c^\top Y_c\|_F)$ over centred rows (Kornblith et al.
    2019). debiased: the same quotient of $\mathrm{HSIC}_1$, the U-statistic of Song et al. (2012), for
    the linear kernel, written in moments of the rows so that no [n, n] matrix is formed (ours;
    the tests hold it equal to the [n, n] form). All rows are shifted by the first batch's
    mean, which changes no centred quantity and keeps large common offsets out of the sums.
    """

    def __init__(self) -> None:
        self._xx = _Moments()
        self._yy = _Moments()
        self._xy = _Moments()
        self._pivots: tuple[Tensor, Tensor] | None = None
        self._batches: list[tuple[float, float, float]] = []  # HSIC of xy, xx, yy in each batch

    @property
    def n_rows(self) -> int:
        """Rows seen so far."""
        return self._xy.n_rows

    def update(self, x: Float[Tensor, "n d_x"], y: Float[Tensor, "n d_y"]) -> None:
        """Add paired rows; the products are taken in float32 or the rows' wider dtype."""
        dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        x, y = x.detach().to(dtype), y.detach().to(dtype)
        if self._pivots is None:
            self._pivots = x.mean(dim=0), y.mean(dim=0)
        x, y = x - self._pivots[0], y - self._pivots[1]
        batch = _Moments.of(x, y), _Moments.of(x, x), _Moments.of(y, y)
        for total, part in zip((self._xy, self._xx, self._yy), batch, strict=True):
            total.add(part)
        if len(x) >= MIN_ROWS["debiased"]:
            xy, xx, yy = (part.hsic("debiased") for part in batch)
            self._batches.append((xy, xx, yy))

    def result(self) -> CKA:
        """CKA of all rows so far; NaN where an estimator is undefined (too few or constant rows)."""
        return CKA(
            biased=self._quotient("biased"),
            debiased=self._quotient("debiased"),
            n_rows=self.n_rows,
            debiased_standard_error=self._jackknife(),
        )

    def _quotient(self, estimator: Estimator) -> float:
        if self.n_rows < MIN_ROWS[estimator]:
            return float("nan")
        return _alignment(*(part.hsic(estimator) for part in (self._xy, self._xx, self._yy)))

    def _jackknife(self) -> float:
        r"""Delete-one-batch standard error of the minibatch form (Nguyen et al. 2021).

        $\sqrt{\frac{B-1}{B}\sum_b(\theta_{-b} - \bar\theta)^2}$, with $\theta_{-b}$ the quotient of
        the HSICs summed over all batches but b.
        """
        n = len(self._batches)
        if n < 2:
            return float("nan")
        batches = torch.tensor(self._batches, dtype=torch.float64)
        without = (batches.sum(dim=0) - batches).tolist()
        values = torch.tensor([_alignment(*row) for row in without], dtype=torch.float64)
        return float(((n - 1) / n * (values - values.mean()).square().sum()).sqrt())


def linear_cka(
    x: Float[Tensor, "n d_x"], y: Float[Tensor, "n d_y"], estimator: str = "debiased"
) -> float:
    """Linear CKA of paired rows; `CKAFitter` has the formulas.

    Raises ValueError for an unknown estimator or too few rows (2 biased, 4 debiased).
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


def _alignment(xy: float, xx: float, yy: float) -> float:
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
        moments.sums = tuple(term.double() for term in terms)
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
