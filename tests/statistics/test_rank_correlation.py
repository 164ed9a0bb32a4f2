"""Rank correlation: SciPy's, for many samples at a time, with intervals that cover."""

import numpy as np
import pytest
from coverage_by_simulation import coverage, rejections
from scipy.stats import spearmanr

from lm_merge.statistics.rank_correlation import (
    clustered_rank_correlation,
    rank_correlation,
    spearman,
)


def normal_pairs(rng: np.random.Generator, n: int, r: float) -> tuple[np.ndarray, np.ndarray]:
    x, noise = rng.standard_normal((2, n))
    return x, r * x + (1 - r**2) ** 0.5 * noise


def test_many_samples_at_a_time_are_scipys_one_by_one():
    x, y = np.random.default_rng(0).integers(5, size=(2, 7, 9)).astype(float)  # ties, too
    one_by_one = [spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert spearman(x, y) == pytest.approx(one_by_one)
    assert float(spearman(x[0], y[0])) == pytest.approx(one_by_one[0])
    found = rank_correlation(x[0], y[0])
    assert found.spearman == pytest.approx(one_by_one[0])
    assert found.p_value == pytest.approx(spearmanr(x[0], y[0]).pvalue)
    assert found.n == 9


@pytest.mark.parametrize(
    ("x", "y"), [((1, 1, 1), (1, 2, 3)), ((1, 2), (1, 2)), ((1, np.nan, 2), (1, 2, 3))]
)
def test_undefined_is_nan_and_so_is_its_interval(x, y):
    one, other = np.array([x, y], dtype=float)
    assert np.isnan(spearman(one, other))
    found = rank_correlation(one, other)
    assert found.n == len(x)
    assert np.isnan([found.spearman, found.low, found.high, found.p_value]).all()


@pytest.mark.parametrize("r", [0.0, 0.7])
@pytest.mark.parametrize("n", [8, 20])
def test_the_interval_covers(n, r):
    truth = 6 / np.pi * np.arcsin(r / 2)  # Spearman's of a bivariate normal distribution

    def interval(rng):
        found = rank_correlation(*normal_pairs(rng, n, r))
        return found.low, found.high

    assert 0.92 <= coverage(interval, truth) <= 0.98


def test_a_true_null_is_rejected_as_often_as_the_level_says():
    share = rejections(lambda rng: rank_correlation(*normal_pairs(rng, 12, 0.0)).p_value)
    assert 0.03 <= share <= 0.07


def test_a_perfect_order_of_few_is_not_certain():
    found = rank_correlation(np.arange(6.0), np.arange(6.0) ** 3)
    assert found.spearman == found.high == 1.0
    assert 0.5 < found.low < 0.95


def test_values_of_one_text_are_a_cluster_and_the_interval_covers():
    texts = np.repeat(np.arange(8), 12)

    def drawn(rng):
        own_x, own_y = rng.standard_normal((2, 8))[:, texts]
        x, y = rng.standard_normal((2, 96))
        return own_x + x, own_y + y  # alike within a text, unrelated to each other

    def interval(rng):
        return clustered_rank_correlation(*drawn(rng), texts)[1:]

    def as_if_independent(rng):
        found = rank_correlation(*drawn(rng))
        return found.low, found.high

    assert 0.92 <= coverage(interval, 0.0, n_draws=150) <= 0.99
    assert coverage(as_if_independent, 0.0, n_draws=60) < 0.8
