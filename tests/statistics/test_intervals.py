"""Intervals: by hand, by theory, and how often they hold the truth where there is little data."""

import math

import numpy as np
import pytest
import torch
from coverage_by_simulation import coverage
from scipy.stats import binom, t

from lm_merge.metrics.minibatch_cka import CKAEstimate
from lm_merge.statistics.clustered_means import ClusteredMean
from lm_merge.statistics.intervals import (
    clustered_interval,
    difference_interval,
    jackknife_interval,
    student_interval,
    wilson_interval,
    worst_case_half_width,
)


def labels(places) -> list[str]:
    return [f"question {place}" for place in places]


@pytest.mark.parametrize("n", [5, 10, 31])
def test_wilsons_interval_covers(n):
    ends = [wilson_interval(k, n) for k in range(n + 1)]
    held = []
    for share in np.linspace(0.05, 0.95, 91):  # exact: every outcome with its chance
        inside = [low <= share <= high for low, high in ends]
        held.append(binom.pmf(np.arange(n + 1), n, share) @ inside)
    assert 0.94 <= np.mean(held) <= 0.98
    assert min(held) >= 0.83  # a discrete count: no interval of this width does better everywhere
    assert wilson_interval(0, 0) == (0.0, 1.0)


def text_values(rng: np.random.Generator, n_texts: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of texts of unlike length that are alike within a text (correlation 0.3); mean 0."""
    lengths = rng.integers(5, 60, size=n_texts)
    texts = np.repeat(np.arange(n_texts), lengths)
    own = 0.3**0.5 * rng.standard_normal(n_texts)
    return own[texts] + 0.7**0.5 * rng.standard_normal(lengths.sum()), texts


@pytest.mark.parametrize("n_texts", [4, 8, 16])
def test_intervals_over_tokens_cover_where_texts_are_few(n_texts):
    def streamed(rng):
        values, texts = text_values(rng, n_texts)
        mean = ClusteredMean()
        table = torch.full((n_texts, 60), torch.nan)
        for text in range(n_texts):
            own = torch.from_numpy(values[texts == text])
            table[text, : len(own)] = own
        mean.update(table)
        return mean.result().interval()

    def at_once(rng):
        values, texts = text_values(rng, n_texts)
        return clustered_interval(values, labels(texts))

    def of_tokens(rng):  # as if tokens were independent: what must not be
        values, _ = text_values(rng, n_texts)
        return student_interval(values.mean(), values.std() / len(values) ** 0.5, len(values) - 1)

    assert 0.91 <= coverage(at_once, 0.0) <= 0.98
    assert 0.91 <= coverage(streamed, 0.0, n_draws=200) <= 0.98
    assert coverage(of_tokens, 0.0, n_draws=200) < 0.6


def test_both_ways_to_a_clustered_mean_agree():
    values, texts = text_values(np.random.default_rng(3), 7)
    mean = ClusteredMean()
    for text in range(7):
        mean.update(torch.from_numpy(values[texts == text]).unsqueeze(0))
    row = mean.result().row()
    assert (row["low"], row["high"]) == pytest.approx(clustered_interval(values, labels(texts)))
    assert (row["value"], row["n"]) == (pytest.approx(values.mean()), len(values))
    # equal texts: n_effective is their number
    equal = ClusteredMean()
    equal.update(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]]))
    assert equal.result().n_effective == 3


@pytest.mark.parametrize(("n", "seeds"), [(5, 1), (10, 1), (10, 4), (31, 1), (31, 4)])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_shares_of_questions_under_several_seeds_cover(n, seeds, share):
    questions = labels(np.repeat(np.arange(n), seeds))

    def interval(rng):
        chance = rng.beta(3 * share, 3 * (1 - share), size=n).repeat(seeds)
        right = (rng.random(n * seeds) < chance).astype(float)
        return clustered_interval(right, questions, bounds=(0.0, 1.0))

    assert coverage(interval, share, n_draws=200) >= 0.9


@pytest.mark.parametrize("n", [10, 31])
def test_differences_of_two_systems_cover(n):
    def interval(rng):
        right, other = rng.random(n) < 0.7, rng.random(n) < 0.5
        gap = right.astype(float) - other
        return clustered_interval(gap, labels(range(n)), bounds=(-1.0, 1.0))

    assert 0.91 <= coverage(interval, 0.2) <= 0.99


def test_equal_values_have_an_interval_that_says_how_few_they_are():
    few, many = (
        clustered_interval(np.ones(n), labels(range(n)), bounds=(0.0, 1.0)) for n in (5, 50)
    )
    assert few[1] == many[1] == 1.0
    assert few[0] < many[0] < 1.0
    low, high = clustered_interval(np.zeros(5), labels(range(5)), bounds=(-1.0, 1.0))
    assert low == pytest.approx(-high)
    assert 0.5 < high < 1.0


def test_a_mean_of_independent_values_has_students_interval():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=9)
    half = t.ppf(0.975, 8) * values.std(ddof=1) / 3
    expected = (values.mean() - half, values.mean() + half)
    assert clustered_interval(values, labels(range(9))) == pytest.approx(expected)


def test_repeated_questions_count_once():
    values = np.random.default_rng(2).integers(0, 2, size=50).astype(float)
    for bounds in (None, (0.0, 1.0)):
        once = clustered_interval(values, labels(range(50)), bounds=bounds)
        # every value four times, in clusters of four: nothing new was learnt
        names = labels(np.repeat(range(50), 4))
        again = clustered_interval(np.repeat(values, 4), names, bounds=bounds)
        assert again == pytest.approx(once)
        # as if they were new questions: half the width
        wrong = clustered_interval(np.repeat(values, 4), labels(range(200)), bounds=bounds)
        assert (wrong[1] - wrong[0]) / (once[1] - once[0]) == pytest.approx(0.5, rel=0.1)


def test_order_does_not_matter_and_undefined_values_are_left_out():
    values = np.array([1.0, 0.0, 1.0, np.nan, np.nan])
    found = clustered_interval(values, labels(range(5)))
    assert found == clustered_interval(values[:3], labels(range(3)))
    turned = clustered_interval(values[::-1].copy(), labels(range(5))[::-1])
    assert turned == pytest.approx(found)
    assert np.isnan(clustered_interval(np.array([1.0, np.nan]), labels(range(2)))).all()


def test_what_has_no_interval_is_refused():
    with pytest.raises(ValueError, match="3 values and 2 clusters"):
        clustered_interval(np.zeros(3), labels(range(2)))
    with pytest.raises(ValueError, match=r"values from 0 to 2 lie outside bounds=\(0.0, 1.0\)"):
        clustered_interval(np.array([0.0, 2.0]), labels(range(2)), bounds=(0.0, 1.0))


def test_differences_of_two_means_cover_with_few_and_unlike_clusters():
    def interval(rng):
        found = []
        for n, spread in ((5, 1.0), (12, 3.0)):
            values = rng.normal(0.0, spread, size=n)
            found.append((values.mean(), *clustered_interval(values, labels(range(n)))))
        return difference_interval(*found)

    assert 0.91 <= coverage(interval, 0.0) <= 0.98


@pytest.mark.parametrize("n", [6, 12])
def test_the_jackknife_covers_a_ratio_of_means(n):
    def interval(rng):
        below = 5 + rng.standard_normal(n)
        above = 2 * below + rng.standard_normal(n)
        everyone = np.arange(n)
        without = [above[everyone != i].mean() / below[everyone != i].mean() for i in everyone]
        return jackknife_interval(above.mean() / below.mean(), np.array(without))

    assert 0.91 <= coverage(interval, 2.0) <= 0.98


def test_the_jackknife_of_a_mean_is_students_interval_and_else_undefined():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    without = (values.sum() - values) / 3
    expected = student_interval(values.mean(), values.std(ddof=1) / 2, 3)
    assert jackknife_interval(values.mean(), without) == pytest.approx(expected)
    for undefined in (without[:1], np.append(without, np.nan)):
        assert np.isnan(jackknife_interval(4.0, undefined)).all()
    assert np.isnan(jackknife_interval(1.0, np.array([0.9, 0.8, 1.0]), correlation=True)).all()


def test_an_estimate_of_cka_has_students_interval_over_its_parts():
    row = CKAEstimate(0.5, 0.1, n_rows=400, n_parts=4).row()
    assert (row["low"], row["high"]) == pytest.approx((0.5 - 0.31824, 0.5 + 0.31824), abs=1e-4)
    alone = CKAEstimate(0.5, math.nan, n_rows=40, n_parts=1).row()
    assert np.isnan([alone["low"], alone["high"]]).all()


def test_worst_case_half_width_by_hand():
    assert worst_case_half_width(270) == pytest.approx(0.0596, abs=5e-5)  # 1.96 / (2 * 16.43)
    assert worst_case_half_width(31) == pytest.approx(0.176, abs=5e-4)
    assert math.isnan(worst_case_half_width(0))
