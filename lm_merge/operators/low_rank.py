r"""Low-rank matrices $s\,B A$ and their algebra, without ever building the dense matrix.

An adapter's update of a weight matrix is such a product (Hu et al. 2022, LoRA). Sums of them are exact:
stack the rows of A, put the columns of B side by side. Inner products need r x r matrices only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.accumulation import wide


@dataclass(frozen=True)
class LowRank:
    """The matrix `scale * b @ a` of shape [d_out, d_in]; its rank is at most the number of rows of a."""

    a: Float[Tensor, "rank d_in"]
    b: Float[Tensor, "d_out rank"]
    scale: float = 1.0

    @property
    def rank(self) -> int:
        """Rows of a: an upper bound of the matrix's rank."""
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in)."""
        return self.b.shape[0], self.a.shape[1]

    @property
    def n_bytes(self) -> int:
        """Memory of the two factors."""
        return self.a.nbytes + self.b.nbytes

    def dense(self) -> Float[Tensor, "d_out d_in"]:
        """The matrix itself."""
        return self.scale * (self.b @ self.a)

    def transposed(self) -> "LowRank":
        """The transposed matrix, of shape [d_in, d_out]."""
        return LowRank(self.b.mT, self.a.mT, self.scale)

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> "LowRank":
        """The same matrix with both factors moved and cast."""
        return LowRank(self.a.to(device, dtype), self.b.to(device, dtype), self.scale)


def low_rank_sum(parts: Sequence[LowRank], weights: Sequence[float]) -> LowRank:
    r"""$\sum_i w_i D_i$, exactly: rank $\sum_i r_i$ over the parts whose weight is not 0, scale 1.

    The coefficients $w_i s_i$ are multiplied into the columns of b. With all weights 0 the rank is 0.
    Raises ValueError for matrices of different shapes.
    """
    check_shapes(parts)
    pairs = zip(parts, weights, strict=True)
    kept = [(part, weight * part.scale) for part, weight in pairs if weight != 0]
    if not kept:
        return LowRank(parts[0].a[:0], parts[0].b[:, :0])
    dtype = torch.promote_types(kept[0][0].a.dtype, torch.float32)
    a = torch.cat([part.a.to(dtype) for part, _ in kept])
    b = torch.cat([factor * part.b.to(dtype) for part, factor in kept], dim=1)
    return LowRank(a, b)


def factor_mean(parts: Sequence[LowRank], weights: Sequence[float]) -> LowRank:
    r"""$s\,(\sum_i w_i B_i)(\sum_i w_i A_i)$: the factors are averaged, not the updates.

    It has cross terms $w_i w_j B_i A_j$ and so is not the mean of the updates. It is kept for
    comparison, since tools offer it. Raises ValueError for unequal shapes, ranks or scales, where it is
    undefined.
    """
    check_shapes(parts)
    ranks, scales = {part.rank for part in parts}, {part.scale for part in parts}
    if len(ranks) > 1 or len(scales) > 1:
        raise ValueError(
            f"factor_mean averages factors of one rank and one scale; here ranks are {sorted(ranks)} "
            f"and scales {sorted(scales)}: use operator 'linear', which sums the updates exactly"
        )
    pairs = list(zip(parts, weights, strict=True))
    a = torch.stack([weight * part.a for part, weight in pairs]).sum(dim=0)
    b = torch.stack([weight * part.b for part, weight in pairs]).sum(dim=0)
    return LowRank(a, b, parts[0].scale)


def inner_product(x: LowRank, y: LowRank) -> float:
    r"""Frobenius inner product $s_x s_y \sum (B_x^\top B_y) \odot (A_x A_y^\top)$, in float64."""
    left = wide(x.b).mT @ wide(y.b)
    right = wide(x.a) @ wide(y.a).mT
    return float(x.scale * y.scale * (left * right).sum())


def gram(parts: Sequence[LowRank]) -> Float[Tensor, "n n"]:
    """Inner products of every two matrices, in float64; the diagonal holds squared norms."""
    check_shapes(parts)
    values = torch.zeros(len(parts), len(parts), dtype=torch.float64)
    for row, x in enumerate(parts):
        for column, y in enumerate(parts[: row + 1]):
            values[row, column] = values[column, row] = inner_product(x, y)
    return values


@dataclass(frozen=True)
class Recompressed:
    """A matrix of lower rank and its distance from the original.

    relative_error: Frobenius norm of the difference over that of the original, in [0, 1]; 0 for a zero
    original. singular_values: of the original, largest first.
    """

    matrix: LowRank
    relative_error: float
    singular_values: Float[Tensor, " k"]


def recompress(
    matrix: LowRank, *, rank: int | None = None, max_error: float | None = None
) -> Recompressed:
    r"""The best approximation of at most a rank, or the lowest rank within a relative error.

    QR of B and of A^T, then the SVD of the small core $R_B R_A^\top = U S V^\top$:
    $D = (Q_B U) S (Q_A V)^\top$, in float64 at a cost of $O((d_{in} + d_{out}) r^2)$. Truncation is
    optimal in the Frobenius norm (Eckart and Young 1936); its error is
    $\sqrt{\sum_{k > r} S_k^2} / \sqrt{\sum_k S_k^2}$. With neither argument the rank is the
    numerical one. Each factor carries the square root of the singular values.
    Raises ValueError for rank < 1 or max_error outside [0, 1).
    """
    if rank is not None and rank < 1:
        raise ValueError(f"rank={rank} must be at least 1")
    if max_error is not None and not 0 <= max_error < 1:
        raise ValueError(f"max_error={max_error} is outside 0..1 (1 excluded)")
    q_b, r_b = torch.linalg.qr(matrix.scale * wide(matrix.b))
    q_a, r_a = torch.linalg.qr(wide(matrix.a).mT)
    u, values, vh = torch.linalg.svd(r_b @ r_a.mT, full_matrices=False)
    tails = values.square().flip(0).cumsum(0).flip(0)  # of what is left out from each rank on
    total = float(tails[0]) if len(tails) else 0.0
    errors = torch.cat([tails, tails.new_zeros(1)]).clamp(min=0).sqrt()
    errors = errors / (total**0.5 if total > 0 else 1.0)
    kept = _rank_of(values, errors, rank, max_error)
    roots = values[:kept].sqrt()
    small = LowRank(
        a=(roots[:, None] * (vh[:kept] @ q_a.mT)).to(matrix.a),
        b=((q_b @ u[:, :kept]) * roots).to(matrix.a),
    )
    return Recompressed(small, float(errors[kept]), values)


def _rank_of(
    values: Float[Tensor, " k"],
    errors: Float[Tensor, " k_plus_1"],
    rank: int | None,
    max_error: float | None,
) -> int:
    """How many singular values stay: at least one, where there is one."""
    if len(values) == 0:
        return 0
    eps = torch.finfo(values.dtype).eps * len(values)
    numerical = int((values > eps * values[0]).sum())
    kept = numerical
    if max_error is not None:
        kept = int((errors > max_error).sum())
    if rank is not None:
        kept = min(kept, rank)
    return max(1, min(kept, len(values)))


def check_shapes(parts: Sequence[LowRank]) -> None:
    """Raise ValueError unless there is a matrix and all have one shape."""
    if not parts:
        raise ValueError("parts is empty: give at least one low-rank matrix")
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"low-rank matrices have different shapes: {sorted(shapes)}")
