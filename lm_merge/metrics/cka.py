"""Linear centred kernel alignment (CKA) of paired rows, at once or streamed over batches.

Rows are samples (tokens, say) and must be reported with every value: the biased estimator rises
towards 1 as the number of rows falls below the width.
"""

from collections.abc import Iterable, Mapping, Sequence
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


class PairwiseCKA:
    r"""Streams rows of several sets and gives exactly the CKA of all rows, whatever the batches were.

    pairs: names of the sets to compare. Memory is one [d, d] matrix in float64 for each pair and each
    set, whatever the number of rows. biased:
    $\|X_c^\top Y_c\|_F^2 / (\|X_c^\top X_c\|_F\,\|Y_c^\top Y_c\|_F)$ over centred rows (Kornblith et al.
    2019). debiased: the same quotient of $\mathrm{HSIC}_1$, the U-statistic of Song et al. (2012), for
    the linear kernel, written in moments of the rows so that no [n, n] matrix is formed (ours;
    the tests hold it equal to the [n, n] form). All rows are shifted by the first batch's
    mean, which changes no centred quantity and keeps large common offsets out of the sums.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.pairs = tuple(pairs)
        self.names = tuple(dict.fromkeys(name for pair in self.pairs for name in pair))
        kept = dict.fromkeys([*self.pairs, *((name, name) for name in self.names)])
        self._moments = {pair: _Moments() for pair in kept}
        self._batches: dict[tuple[str, str], list[float]] = {pair: [] for pair in kept}
        self._pivots: dict[str, Tensor] = {}

    def update(self, rows: Mapping[str, Float[Tensor, "n _"]]) -> None:
        """Add paired rows of every set; products are taken in float32 or the rows' wider dtype."""
        dtype = torch.float32
        for name in self.names:
            dtype = torch.promote_types(dtype, rows[name].dtype)
        shifted = {}
        for name in self.names:
            wide = rows[name].detach().to(dtype)
            shifted[name] = wide - self._pivots.setdefault(name, wide.mean(dim=0))
        for (one, other), total in self._moments.items():
            part = _Moments.of(shifted[one], shifted[other])
            total.add(part)
            if part.n_rows >= MIN_ROWS["debiased"]:
                self._batches[one, other].append(part.hsic("debiased"))

    def result(self, one: str, other: str) -> CKA:
        """CKA of a pair over all rows so far; NaN where undefined (too few or constant rows)."""
        parts = (one, other), (one, one), (other, other)
        n_rows = self._moments[parts[0]].n_rows
        values = {
            estimator: float("nan")
            if n_rows < MIN_ROWS[estimator]
            else _alignment(*(self._moments[part].hsic(estimator) for part in parts))
            for estimator in ESTIMATORS
        }
        error = _jackknife([self._batches[part] for part in parts])
        return CKA(**values, n_rows=n_rows, debiased_standard_error=error)


class CKAFitter:
    """`PairwiseCKA` of one pair: `update(x, y)` as often as there are batches, then `result()`."""

    def __init__(self) -> None:
        self._pairwise = PairwiseCKA([("x", "y")])

    def update(self, x: Float[Tensor, "n d_x"], y: Float[Tensor, "n d_y"]) -> None:
        """Add paired rows."""
        self._pairwise.update({"x": x, "y": y})

    def result(self) -> CKA:
        """CKA of all rows so far."""
        return self._pairwise.result("x", "y")


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


def _jackknife(batches: Sequence[Sequence[float]]) -> float:
    r"""Delete-one-batch standard error of the minibatch form (Nguyen et al. 2021).

    $\sqrt{\frac{B-1}{B}\sum_b(\theta_{-b} - \bar\theta)^2}$, with $\theta_{-b}$ the quotient of the
    HSICs (of xy, xx and yy) summed over all batches but b.
    """
    hsics = torch.tensor(batches, dtype=torch.float64)
    n = hsics.shape[1]
    if n < 2:
        return float("nan")
    without = (hsics.sum(dim=1, keepdim=True) - hsics).T.tolist()
    values = torch.tensor([_alignment(*row) for row in without], dtype=torch.float64)
    return float(((n - 1) / n * (values - values.mean()).square().sum()).sqrt())


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
