"""Rank correlation: SciPy's, for many samples at a time, undefined where it means nothing."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from lm_merge.statistics.rank_correlation import percentile_interval, rank_correlation, spearman


def test_many_samples_at_a_time_are_scipys_one_by_one():
    x, y = np.random.default_rng(0).integers(5, size=(2, 7, 9)).astype(float)  # ties, too
    one_by_one = [spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert spearman(x, y) == pytest.approx(one_by_one)
    assert float(spearman(x[0], y[0])) == pytest.approx(one_by_one[0])


@pytest.mark.parametrize(
    ("x", "y"), [((1, 1, 1), (1, 2, 3)), ((1, 2), (1, 2)), ((1, np.nan, 2), (1, 2, 3))]
)
def test_undefined_is_nan_and_so_is_its_interval(x, y):
    pairs = np.array([x, y], dtype=float).T
    assert np.isnan(spearman(*pairs.T))
    found = rank_correlation(pairs, np.random.default_rng(0))
    assert found.pop("n") == len(x)
    assert np.isnan(list(found.values())).all()


def test_the_interval_holds_the_correlation_and_is_that_of_the_resamples():
    generator = np.random.default_rng(1)
    x = generator.standard_normal(40)
    pairs = np.stack([x, x + generator.standard_normal(40)], axis=1)
    found = rank_correlation(pairs, np.random.default_rng(2))
    expected = spearmanr(*pairs.T)
    assert found["spearman"] == pytest.approx(expected.statistic)
    assert found["p_value"] == pytest.approx(expected.pvalue)
    assert -1 <= found["low"] < found["spearman"] < found["high"] <= 1
    rows = np.random.default_rng(2).integers(40, size=(1000, 40))
    drawn = [spearmanr(*pairs[one].T).statistic for one in rows]
    assert (found["low"], found["high"]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
    assert np.isnan(percentile_interval(np.full(3, np.nan))).all()
