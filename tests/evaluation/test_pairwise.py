"""Pairwise rates and paired tests: closed forms, symmetries, independent calculations."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from scipy.stats import binom

from lm_merge.evaluation.pairwise import (
    decided_only_rate,
    none_rate,
    order_gap,
    pair_scores,
    strict_outcomes,
    summarise,
    verdicts_by_key,
)
from lm_merge.statistics.bradley_terry import bradley_terry
from lm_merge.statistics.length_control import rate_at_equal_length
from lm_merge.statistics.paired import mcnemar_exact

NAN = np.nan


def test_scores_and_outcomes_of_every_pair_of_verdicts():
    values = [1.0, 0.0, -1.0, NAN]
    first = np.repeat(values, 4)
    second = np.tile(values, 4)
    # u = 1/2 + (v1 + v2) / 4, a missing verdict as 0
    expected = [1, 0.75, 0.5, 0.75, 0.75, 0.5, 0.25, 0.5, 0.5, 0.25, 0, 0.25, 0.75, 0.5, 0.25, 0.5]
    assert pair_scores(first, second) == pytest.approx(expected)
    outcomes = strict_outcomes(first, second)
    assert outcomes[0] == 1
    assert outcomes[10] == -1
    assert (np.delete(outcomes, [0, 10]) == 0).all()


def test_the_other_systems_view_is_the_mirror_image():
    rng = np.random.default_rng(0)
    first, second = (rng.choice([1.0, 0.0, -1.0, NAN], size=200) for _ in range(2))
    ours, theirs = summarise(first, second), summarise(-second, -first)
    assert ours.win_rate + theirs.win_rate == pytest.approx(1)
    assert (ours.win_frac, ours.loss_frac) == (theirs.loss_frac, theirs.win_frac)
    assert ours.order_gap == pytest.approx(theirs.order_gap)  # the judge's, not a system's
    assert ours.none_frac == theirs.none_frac
    assert ours.decided_only_rate + theirs.decided_only_rate == pytest.approx(1)
    assert ours.win_frac + ours.tie_frac + ours.loss_frac == pytest.approx(1)


def test_a_judge_that_always_names_the_first_answer():
    first, second = np.ones(10), -np.ones(10)
    assert summarise(first, second).win_rate == 0.5
    assert summarise(first, second).tie_frac == 1
    assert order_gap(first, second) == 1
    # of ten pairs nine are read this way and one is lost twice: the published rate hardly moves
    first[0] = -1.0
    assert decided_only_rate(first, second) == pytest.approx((9 / 10 + 0) / 2)


def test_the_published_estimator_may_lie_far_from_the_strict_win_share():
    # 29 pairs won twice, 28 lost twice, 43 where the judge names the first answer
    first = np.array([1.0] * 29 + [-1.0] * 28 + [1.0] * 43)
    second = np.array([1.0] * 29 + [-1.0] * 28 + [-1.0] * 43)
    # (72/100 + 29/100) / 2 = 0.505 where 0.29 of the pairs are won
    assert decided_only_rate(first, second) == pytest.approx(0.505)
    assert summarise(first, second).win_frac == pytest.approx(0.29)


def test_missing_verdicts_and_no_pairs():
    first, second = np.array([NAN, 1.0]), np.array([1.0, NAN])
    assert none_rate(first, second) == 0.5
    empty = np.array([])
    assert np.isnan(summarise(empty, empty, empty).win_rate)
    assert np.isnan(decided_only_rate(np.zeros(3), np.ones(3)))
    with pytest.raises(ValueError, match="one of -1, 0, 1, NaN"):
        pair_scores(np.array([0.5]), np.array([0.0]))


def test_an_answer_keys_win_rate_is_half_the_difference_of_accuracies():
    right, other = np.array([1.0, 1, 1, 0, 0]), np.array([1.0, 0, 0, 1, 0])
    verdicts = verdicts_by_key(right, other)
    assert verdicts.tolist() == [0, 1, 1, -1, 0]
    assert summarise(verdicts, verdicts).win_rate == pytest.approx(0.5 + (0.6 - 0.4) / 2)
    assert summarise(verdicts, verdicts).order_gap == 0


def test_length_control_of_a_symmetric_design_is_the_logistic_fits_intercept():
    # lengths +1 and -1: two cells, so the fit is exact: sigma(a + b t) = p, sigma(a - b t) = q
    p, q = 0.8, 0.4
    scores = np.array([1.0] * 8 + [0.0] * 2 + [1.0] * 4 + [0.0] * 6)
    length = np.array([1.0] * 10 + [-1.0] * 10)
    expected = expit((logit(p) + logit(q)) / 2)
    assert rate_at_equal_length(scores, length) == pytest.approx(expected, abs=1e-6)
    assert rate_at_equal_length(scores, 7 * length) == pytest.approx(expected, abs=1e-6)


def test_length_control_agrees_with_a_direct_search_and_ignores_irrelevant_lengths():
    rng = np.random.default_rng(1)
    length = rng.normal(size=400)
    scores = rng.choice([0.0, 0.25, 0.5, 0.75, 1.0], size=400)
    z = np.tanh(length / np.sqrt(np.mean(length**2)))

    def loss(a: float, b: float) -> float:
        return float(np.sum(np.logaddexp(0, a + b * z) - scores * (a + b * z)))

    def best_slope(a: float) -> float:
        return minimize_scalar(lambda b: loss(a, b), bounds=(-5, 5), method="bounded").fun

    a = minimize_scalar(best_slope, bounds=(-3, 3), method="bounded").x
    assert rate_at_equal_length(scores, length) == pytest.approx(float(expit(a)), abs=1e-4)
    assert rate_at_equal_length(scores, length) == pytest.approx(scores.mean(), abs=0.02)


def test_length_control_is_undefined_where_lengths_separate_wins_from_losses():
    length = np.array([3.0, 2.0, -1.0, -2.0])
    assert np.isnan(rate_at_equal_length(np.array([1.0, 1, 0, 0]), length))
    assert np.isnan(rate_at_equal_length(np.ones(4), length))
    assert rate_at_equal_length(np.array([1.0, 1, 0, 0]), np.zeros(4)) == 0.5


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (7, 1), (3, 3), (0, 12)])
def test_mcnemar_is_the_binomial_tail(only_first, only_second):
    n = only_first + only_second
    first = np.array([True] * only_first + [False] * only_second + [True] * 5 + [False] * 5)
    second = np.array([False] * only_first + [True] * only_second + [True] * 5 + [False] * 5)
    result = mcnemar_exact(first, second)
    tail = 2 * binom.cdf(min(only_first, only_second), n, 0.5) if n else 1.0
    assert (result.n_only_first, result.n_only_second) == (only_first, only_second)
    assert result.p_value == pytest.approx(min(1.0, tail))
    assert mcnemar_exact(second, first).p_value == pytest.approx(result.p_value)


def test_bradley_terry_recovers_strengths_from_expected_wins():
    strengths = np.array([1.0, 0.2, -0.3, -0.9])
    wins = 50 * expit(strengths[:, None] - strengths[None, :])
    np.fill_diagonal(wins, 0)
    assert bradley_terry(wins) == pytest.approx(strengths, abs=1e-5)


def test_bradley_terry_satisfies_its_likelihood_equations_and_ignores_the_order():
    rng = np.random.default_rng(0)
    wins = rng.integers(1, 20, size=(5, 5)).astype(float)
    np.fill_diagonal(wins, 0)
    strengths = bradley_terry(wins)
    expected = ((wins + wins.T) * expit(strengths[:, None] - strengths[None, :])).sum(axis=1)
    assert wins.sum(axis=1) == pytest.approx(expected, abs=1e-4)
    assert strengths.mean() == pytest.approx(0)
    order = [3, 0, 4, 1, 2]
    assert bradley_terry(wins[np.ix_(order, order)]) == pytest.approx(strengths[order], abs=1e-4)


def test_bradley_terry_names_the_group_without_bound():
    wins = np.array([[0.0, 5, 5], [0, 0, 2], [0, 3, 0]])
    with pytest.raises(ValueError, match=r"outside the group \(best\) ever won"):
        bradley_terry(wins, ["best", "b", "c"])
    with pytest.raises(ValueError, match="three or more"):
        bradley_terry(np.array([[0.0, 1], [1, 0]]))
