"""Tests of hypotheses: worked examples, and how often they reject what is true."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
from coverage_by_simulation import coverage, rejections
from scipy.stats import ttest_1samp

from lm_merge.statistics import paired
from lm_merge.statistics.bootstrap import bca_interval
from lm_merge.statistics.equivalence import equivalence_test
from lm_merge.statistics.multiple_tests import holm
from lm_merge.statistics.paired import mcnemar_exact, paired_difference, sign_flip_test


def heavy(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_t(4, size=n)


def test_mcnemar_by_hand():
    first = np.array([1, 1, 1, 1, 1, 0, 1], dtype=bool)
    second = np.array([1, 0, 0, 0, 0, 1, 0], dtype=bool)
    found = mcnemar_exact(first, second)
    assert (found.n_only_first, found.n_only_second) == (5, 1)
    assert found.p_value == pytest.approx(2 * (1 + 6) / 2**6)  # P(0 or 1 of 6), both sides
    assert mcnemar_exact(first, first).p_value == 1.0


def test_mcnemar_rejects_a_true_null_no_more_often_than_its_level():
    def p_value(rng):
        hard = rng.random(300)
        return mcnemar_exact(rng.random(300) > hard, rng.random(300) > hard).p_value

    assert 0.03 <= rejections(p_value) <= 0.07


@pytest.mark.parametrize("n", [10, 40])
def test_sign_flips_reject_a_true_null_as_often_as_the_level_says(n, monkeypatch):
    monkeypatch.setattr(paired, "N_DRAWN", 999)
    share = rejections(lambda rng: sign_flip_test(heavy(rng, n), seed=int(rng.integers(2**31))))
    assert 0.03 <= share <= 0.07


def test_sign_flips_of_few_items_are_all_gone_through():
    differences = np.array([0.5, 1.5, -0.25, 2.0])
    sums = [abs(differences @ signs) for signs in itertools.product([1, -1], repeat=4)]
    expected = np.mean([one >= abs(differences.sum()) - 1e-12 for one in sums])
    assert sign_flip_test(differences) == expected
    assert sign_flip_test(np.array([0.1, 0.2, 0.3])) == 2 / 8  # rounding makes no pattern less
    assert sign_flip_test(np.zeros(3)) == 1.0
    assert math.isnan(sign_flip_test(np.array([])))
    drawn = sign_flip_test(np.random.default_rng(0).normal(1, 1, size=40))
    assert drawn >= 1 / 10_001  # never 0


@pytest.mark.slow
def test_paired_tests_reject_a_true_null_as_often_as_the_level_says(monkeypatch):
    monkeypatch.setattr(paired, "bca_interval", lambda *args, **options: (0.0, 0.0))
    monkeypatch.setattr(paired, "N_DRAWN", 9)
    rng = np.random.default_rng(0)
    found = [paired_difference(heavy(rng, 20)) for _ in range(600)]
    for p_values in ([one.p_t for one in found], [one.p_wilcoxon for one in found]):
        assert 0.03 <= np.mean(np.array(p_values) <= 0.05) <= 0.07


def test_a_paired_difference_holds_all_there_is_to_say():
    differences = np.array([1.0, 2.0, 4.0, 3.0, np.nan, 2.5])
    found = paired_difference(differences)
    kept = differences[np.isfinite(differences)]
    assert (found.mean, found.n) == (2.5, 5)
    assert found.d_z == pytest.approx(2.5 / kept.std(ddof=1))
    assert found.p_t == pytest.approx(ttest_1samp(kept, 0.0).pvalue)
    assert found.p_permutation == found.p_wilcoxon == 2 / 2**5
    assert 1.0 < found.low < 2.5 < found.high < 4.0
    equal = paired_difference(np.full(5, 0.5))
    assert np.isnan([equal.low, equal.d_z, equal.p_t]).all()
    nearly = paired_difference(np.array([0.3 - 0.1, 0.2, 0.2, 0.2]))  # but for rounding
    assert np.isnan([nearly.low, nearly.d_z, nearly.p_t]).all()
    assert equal.p_permutation == 2 / 2**5
    nothing = paired_difference(np.array([np.nan]))
    assert (nothing.n, math.isnan(nothing.mean)) == (0, True)


@pytest.mark.slow
def test_the_interval_of_a_paired_difference_covers(monkeypatch):
    monkeypatch.setattr(paired, "N_DRAWN", 9)
    monkeypatch.setattr(paired, "bca_interval", partial(bca_interval, n_resamples=499))

    def interval(rng):
        found = paired_difference(1 + rng.standard_normal(15))
        return found.low, found.high

    assert 0.92 <= coverage(interval, 1.0, n_draws=200) <= 0.98


def test_holm_by_hand_and_undefined_tests_are_not_counted():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    with_gap = holm([0.01, np.nan, 0.04])
    assert with_gap[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(with_gap[1])
    assert holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert len(holm([])) == 0
    with pytest.raises(ValueError, match=r"p-values lie in \[0, 1\]"):
        holm([0.5, 1.5])


def test_holm_keeps_the_chance_of_any_false_rejection_at_the_level():
    share = rejections(lambda rng: float(holm(rng.random(6)).min()), n_draws=1500)
    assert 0.03 <= share <= 0.07


@pytest.mark.parametrize("n", [8, 30])
def test_what_differs_by_the_margin_is_called_equivalent_as_often_as_the_level_says(n):
    def p_value(rng):
        return equivalence_test(2.0 + rng.standard_normal(n), 2.0).p_value

    assert 0.03 <= rejections(p_value) <= 0.07


def test_equivalence_is_the_interval_inside_the_margin():
    rng = np.random.default_rng(0)
    for _ in range(100):
        found = equivalence_test(rng.normal(0.3, 1.0, size=20), 0.8)
        inside = -0.8 < found.low and found.high < 0.8
        assert found.equivalent == inside == (found.p_value < 0.05)
    same = equivalence_test(np.full(4, 0.1), 0.2)
    assert (same.equivalent, same.p_value) == (True, 0.0)
    assert equivalence_test(np.array([0.1]), 0.2).equivalent is None
    for margin in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="margin="):
            equivalence_test(np.zeros(3), margin)


def test_the_interval_of_the_equivalence_test_covers():
    def interval(rng):
        found = equivalence_test(1 + rng.standard_normal(6), 2.0)
        return found.low, found.high

    assert 0.87 <= coverage(interval, 1.0, n_draws=600) <= 0.93  # 1 - 2 level
