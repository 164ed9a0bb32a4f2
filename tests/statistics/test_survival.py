"""Survival: worked examples with censored items, coverage of the bands, and the log-rank test."""

import numpy as np
import pytest
from coverage_by_simulation import coverage, rejections
from scipy.stats import CensoredData, ecdf

from lm_merge.statistics.survival import kaplan_meier, logrank_test, restricted_mean

TIMES = np.array([1.0, 2.0, 2.0, 3.0, 5.0, 5.0])
HAPPENED = np.array([True, True, False, True, False, True])


def censored(rng: np.random.Generator, n: int, scale: float = 8.0, horizon: float = 12.0):
    """Exponential times, watched for a while that differs from item to item, up to the horizon."""
    times = rng.exponential(scale, size=n)
    watched = np.minimum(rng.uniform(4, 30, size=n), horizon)
    return np.minimum(times, watched), times <= watched


def test_kaplan_meier_by_hand():
    curve = kaplan_meier(TIMES, HAPPENED)
    # 6 at risk at 1, 5 at 2, 3 at 3 (one of the twos was cut off), 2 at 5
    assert curve.times.tolist() == [1.0, 2.0, 3.0, 5.0]
    assert curve.n_at_risk.tolist() == [6, 5, 3, 2]
    assert curve.survival == pytest.approx([5 / 6, 4 / 6, 4 / 9, 2 / 9])
    scipys = ecdf(CensoredData.right_censored(TIMES, ~HAPPENED)).sf
    assert curve.survival == pytest.approx(scipys.probabilities)
    assert (curve.low < curve.survival).all()
    assert (curve.survival < curve.high).all()


def test_what_happened_to_none_or_all_has_no_band():
    assert len(kaplan_meier(np.array([3.0, 3.0]), np.array([False, False])).times) == 0
    curve = kaplan_meier(np.array([0.0, 2.0]), np.array([True, True]))
    assert curve.survival.tolist() == [0.5, 0.0]
    assert np.isnan(curve.low[1])
    assert np.isnan(curve.high[1])


@pytest.mark.parametrize("n", [15, 30])
def test_the_band_covers(n):
    def interval(rng):
        curve = kaplan_meier(*censored(rng, n))
        place = np.searchsorted(curve.times, 5.0, side="right") - 1
        return (curve.low[place], curve.high[place]) if place >= 0 else (np.nan, np.nan)

    assert 0.92 <= coverage(interval, float(np.exp(-5 / 8)), n_draws=300) <= 0.98


def test_the_restricted_mean_is_the_plain_one_without_censoring():
    times = np.array([0.0, 1.0, 4.0, 9.0, 30.0])
    found = restricted_mean(np.minimum(times, 10.0), times < 10.0, 10.0)
    assert found.value == pytest.approx(np.minimum(times, 10.0).mean())
    assert found.low < found.value < found.high
    assert found.n == 5
    # area by hand: 1 + 5/6 + 4/6 + 2 x 4/9
    assert restricted_mean(TIMES, HAPPENED, 5.0).value == pytest.approx(1 + 5 / 6 + 4 / 6 + 8 / 9)


def test_never_is_the_horizon_and_what_nobody_watched_is_undefined():
    never = restricted_mean(np.full(4, 24.0), np.zeros(4, dtype=bool), 24.0)
    assert (never.value, never.low, never.high) == (24.0, 24.0, 24.0)
    unseen = restricted_mean(np.array([1.0, 3.0]), np.array([True, False]), 24.0)
    assert np.isnan(unseen.value)


@pytest.mark.slow
@pytest.mark.parametrize("n", [12, 30])
def test_the_interval_of_the_restricted_mean_covers(n):
    truth = 8 * (1 - np.exp(-12 / 8))

    def censored_at_the_horizon(rng):
        times = rng.exponential(8.0, size=n)
        found = restricted_mean(np.minimum(times, 12.0), times <= 12.0, 12.0)
        return found.low, found.high

    assert 0.91 <= coverage(censored_at_the_horizon, truth, n_draws=150) <= 0.98


def test_the_log_rank_test_rejects_a_true_null_as_often_as_the_level_says():
    def p_value(rng):
        return logrank_test(*censored(rng, 25), *censored(rng, 25))

    assert 0.03 <= rejections(p_value, n_draws=300) <= 0.07
    slow = censored(np.random.default_rng(0), 40, scale=30.0)
    assert logrank_test(*censored(np.random.default_rng(1), 40, scale=3.0), *slow) < 0.001
    nothing = (np.array([1.0, 2.0]), np.array([False, False]))
    assert np.isnan(logrank_test(*nothing, *nothing))


@pytest.mark.parametrize(
    ("times", "happened", "message"),
    [
        ([], [], "0 times and 0 marks"),
        ([1.0, -2.0], [True, True], "finite and not negative"),
        ([1.0, np.nan], [True, False], "finite and not negative"),
    ],
)
def test_times_that_mean_nothing_are_refused(times, happened, message):
    with pytest.raises(ValueError, match=message):
        kaplan_meier(np.array(times, dtype=float), np.array(happened, dtype=bool))
    with pytest.raises(ValueError, match="horizon="):
        restricted_mean(TIMES, HAPPENED, np.inf)
