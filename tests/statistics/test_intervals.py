import math

import numpy as np
import pytest
from scipy.stats import norm

from lm_merge.statistics.intervals import clustered_interval, worst_case_half_width


def labels(places) -> list[str]:
    return [f"question {place}" for place in places]


def test_interval_of_a_normal_mean_is_that_of_theory():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    low, high = clustered_interval(values, labels(range(400)), seed=3)
    half = norm.ppf(0.975) * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), rel=0.02)


def test_repeated_questions_count_once():
    values = np.random.default_rng(2).integers(0, 2, size=50).astype(float)
    once = clustered_interval(values, labels(range(50)), seed=5)
    # every value four times, in clusters of four: nothing new was learnt
    again = clustered_interval(np.repeat(values, 4), labels(np.repeat(range(50), 4)), seed=5)
    assert again == pytest.approx(once)
    # as if they were new questions: half the width
    wrong = clustered_interval(np.repeat(values, 4), labels(range(200)), seed=5)
    assert (wrong[1] - wrong[0]) / (once[1] - once[0]) == pytest.approx(0.5, rel=0.1)


def test_clusters_of_unlike_size_weigh_by_size():
    values = np.array([1.0] * 9 + [0.0])
    low, high = clustered_interval(values, labels([0] * 9 + [1]), seed=0)
    assert (low, high) == (0.0, 1.0)  # either cluster alone is among the draws


def test_same_seed_same_interval_and_order_does_not_matter():
    values = np.random.default_rng(0).normal(size=30)
    names = labels(range(30))
    assert clustered_interval(values, names, seed=1) == clustered_interval(values, names, seed=1)
    turned = clustered_interval(values[::-1].copy(), names[::-1], seed=1)
    assert turned == pytest.approx(clustered_interval(values, names, seed=1))


def test_undefined_values_are_left_out():
    values = np.array([1.0, 0.0, 1.0, np.nan, np.nan])
    assert clustered_interval(values, labels(range(5))) == clustered_interval(
        values[:3], labels(range(3))
    )
    low, high = clustered_interval(np.array([1.0, np.nan]), labels(range(2)))
    assert math.isnan(low)
    assert math.isnan(high)


def test_one_label_a_value_is_asked_for():
    with pytest.raises(ValueError, match="3 values and 2 clusters"):
        clustered_interval(np.zeros(3), labels(range(2)))


def test_worst_case_half_width_by_hand():
    assert worst_case_half_width(270) == pytest.approx(0.0596, abs=5e-5)  # 1.96 / (2 * 16.43)
    assert worst_case_half_width(31) == pytest.approx(0.176, abs=5e-4)
    assert math.isnan(worst_case_half_width(0))
