"""Low-rank algebra against the dense matrices that it never builds."""

import pytest
import torch
from torch.testing import assert_close

from lm_merge.operators.low_rank import (
    LowRank,
    factor_mean,
    gram,
    inner_product,
    low_rank_sum,
    recompress,
)


def matrix(seed: int, rank: int = 3, scale: float = 1.0) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, 7, generator=generator, dtype=torch.float64)
    b = torch.randn(5, rank, generator=generator, dtype=torch.float64)
    return LowRank(a, b, scale)


PARTS = [matrix(0, 3, 0.5), matrix(1, 2, 2.0), matrix(2, 4, 1.0)]


@pytest.mark.parametrize("weights", [(0.2, 0.3, 0.5), (1.0, -1.0, 0.0), (0.0, 2.5, 0.0)])
def test_a_sum_is_exact_and_its_rank_counts_the_parts_used(weights):
    merged = low_rank_sum(PARTS, weights)
    expected = sum(w * part.dense() for w, part in zip(weights, PARTS, strict=True))
    assert_close(merged.dense(), expected)
    used = zip(PARTS, weights, strict=True)
    assert merged.rank == sum(part.rank for part, weight in used if weight != 0)


def test_a_sum_without_weights_is_zero_of_rank_zero():
    merged = low_rank_sum(PARTS, (0.0, 0.0, 0.0))
    assert merged.rank == 0
    assert_close(merged.dense(), torch.zeros(5, 7, dtype=torch.float64))


def test_factors_averaged_are_not_the_mean_of_updates():
    parts, weights = [matrix(0), matrix(1)], (0.5, 0.5)
    (x, y), mean = parts, factor_mean(parts, weights).dense()
    cross = x.b @ y.a + y.b @ x.a
    assert_close(mean, 0.25 * (x.dense() + y.dense() + cross))
    assert_close(factor_mean([x, x], weights).dense(), x.dense())
    with pytest.raises(ValueError, match=r"ranks are \[2, 3\] and scales \[0.5, 2.0\]"):
        factor_mean(PARTS[:2], weights)


def test_inner_products_are_those_of_the_dense_matrices():
    dense = [part.dense().flatten() for part in PARTS]
    expected = torch.stack([torch.stack([x @ y for y in dense]) for x in dense])
    assert_close(gram(PARTS), expected)
    assert inner_product(PARTS[0], PARTS[1].transposed().transposed()) == pytest.approx(
        float(dense[0] @ dense[1])
    )


def test_recompression_at_full_rank_loses_nothing():
    merged = low_rank_sum(PARTS[:2], (1.0, 1.0))
    small = recompress(merged)
    assert_close(small.matrix.dense(), merged.dense())
    assert small.relative_error < 1e-12
    doubled = low_rank_sum([PARTS[0], PARTS[0]], (1.0, 2.0))
    assert (
        recompress(doubled).matrix.rank == PARTS[0].rank
    )  # the numerical rank, not the stacked one


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_error_said_is_the_error_measured_and_optimal(rank):
    merged = low_rank_sum(PARTS[:2], (1.0, 1.0))
    small = recompress(merged, rank=rank)
    difference = (small.matrix.dense() - merged.dense()).norm() / merged.dense().norm()
    assert small.matrix.rank == rank
    assert small.relative_error == pytest.approx(float(difference), abs=1e-12)
    values = torch.linalg.svdvals(merged.dense())
    assert_close(small.singular_values[:4], values[:4])


def test_an_error_bound_takes_the_lowest_rank_that_keeps_it():
    merged = low_rank_sum(PARTS, (1.0, 1.0, 1.0))
    exact = [recompress(merged, rank=rank).relative_error for rank in range(1, 6)]
    small = recompress(merged, max_error=(exact[1] + exact[2]) / 2)
    assert small.matrix.rank == 3
    assert recompress(merged, max_error=0.0).relative_error < 1e-12


def test_a_zero_matrix_and_wrong_arguments():
    zero = LowRank(torch.zeros(2, 7), torch.zeros(5, 2))
    assert recompress(zero).relative_error == 0.0
    with pytest.raises(ValueError, match="rank=0 must be at least 1"):
        recompress(zero, rank=0)
    with pytest.raises(ValueError, match=r"max_error=1.0 is outside 0\.\.1"):
        recompress(zero, max_error=1.0)
    with pytest.raises(ValueError, match="different shapes"):
        low_rank_sum([PARTS[0], PARTS[0].transposed()], (1.0, 1.0))
