"""Triggers on curves made by hand."""

import pytest

from lm_merge.training.triggers import Curves, every, merge_score, next_interval, plateau


def test_every_epochs():
    assert [epoch for epoch in range(1, 8) if every(epoch, 3)] == [3, 6]


def test_a_plateau_needs_three_epochs_of_all_models():
    flat, rising = Curves((), (0.5, 0.6, 0.60001, 0.60002)), Curves((), (0.5, 0.55, 0.6))
    assert plateau([flat, flat])
    assert not plateau([flat, rising])
    assert not plateau([Curves((), (0.6, 0.6))])


def test_scores_by_hand():
    falling = Curves(tuple(1 / (step + 1) for step in range(30)), (0.5, 0.6, 0.7))
    still = Curves((0.3,) * 30, (0.7, 0.7, 0.7))
    worse = Curves(tuple(1 / (step + 1) for step in range(30)), (0.7, 0.6, 0.5))
    assert merge_score([falling]) == 0.0  # a loss that falls is no reason to merge
    assert merge_score([still]) == pytest.approx(0.4 + 0.3)
    assert merge_score([still, falling, falling]) == pytest.approx(0.2)  # 33 % flat
    assert merge_score([still, still, falling, falling]) == pytest.approx(0.2 + 0.15)
    assert merge_score([worse, falling]) == pytest.approx(0.15)
    assert merge_score([Curves((0.3,) * 9, ())]) == pytest.approx(0.3)  # too few losses to be flat


@pytest.mark.parametrize(
    ("interval", "score", "expected"),
    [(3, 0.9, 2), (3, 0.7, 3), (3, 0.4, 4), (3, 0.1, 5), (1, 0.9, 1), (9, 0.0, 10)],
)
def test_intervals(interval, score, expected):
    assert next_interval(interval, score) == expected
