"""BCa intervals: they cover, keep pairs together, and are undefined where nothing varies."""

import numpy as np
import pytest
from coverage_by_simulation import coverage
from scipy.stats import bootstrap, norm

from lm_merge.statistics.bootstrap import bca_interval
from lm_merge.statistics.intervals import student_interval


def ratio(above: np.ndarray, below: np.ndarray, axis: int = -1) -> np.ndarray:
    return above.mean(axis=axis) / below.mean(axis=axis)


def test_the_interval_of_a_mean_of_few_covers():
    def interval(rng):
        return bca_interval(rng.standard_normal(12), n_resamples=499)

    assert 0.92 <= coverage(interval, 0.0, n_draws=250) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 40])
def test_the_raised_level_covers_more_of_a_mean_with_heavy_tails(n):
    """On the same draws. With n = 40 it covers 92 % of them, so such data need Student's interval."""

    def plain(rng):
        drawn = bootstrap(
            (rng.standard_t(4, size=n),), np.mean, method="BCa", n_resamples=999, rng=0
        )
        return tuple(drawn.confidence_interval)

    def raised(rng):
        return bca_interval(rng.standard_t(4, size=n), n_resamples=999)

    def student(rng):
        values = rng.standard_t(4, size=n)
        return student_interval(values.mean(), values.std(ddof=1) / n**0.5, n - 1)

    n_draws = 600
    ours = coverage(raised, 0.0, n_draws=n_draws)
    assert coverage(plain, 0.0, n_draws=n_draws) < ours <= 0.97
    assert 0.93 <= coverage(student, 0.0, n_draws=n_draws) <= 0.97


def test_the_interval_of_a_ratio_keeps_items_together_and_covers():
    def interval(rng):
        below = 4 + rng.standard_normal(30)
        return bca_interval([2 * below + rng.standard_normal(30), below], ratio, n_resamples=499)

    assert 0.92 <= coverage(interval, 2.0, n_draws=200) <= 0.98
    below = 4 + np.random.default_rng(0).standard_normal(30)
    low, high = bca_interval([2 * below + 1e-3 * np.arange(30), below], ratio)
    assert high - low < 0.01  # drawn apart, above and below would vary by themselves


def test_it_is_scipys():
    values = np.random.default_rng(1).exponential(size=25)
    rng = np.random.default_rng(7)
    # 2 Phi(sqrt(25/24) x 2.0639) - 1: Student's t with 24 degrees of freedom, and n / (n - 1)
    level = 2 * norm.cdf((25 / 24) ** 0.5 * 2.063899) - 1
    found = bootstrap(
        (values,), np.mean, method="BCa", rng=rng, n_resamples=999, confidence_level=level
    )
    ours = bca_interval(values, n_resamples=999, seed=7)
    assert ours == pytest.approx(tuple(found.confidence_interval))


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0], [1.0, np.nan, 2.0]])
def test_what_does_not_vary_or_is_undefined_has_no_interval(values):
    assert np.isnan(bca_interval(np.array(values, dtype=float), n_resamples=99)).all()


def test_samples_of_unlike_length_are_refused():
    with pytest.raises(ValueError, match="samples of 3, 2 units"):
        bca_interval([np.zeros(3), np.zeros(2)], ratio)
