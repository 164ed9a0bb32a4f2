"""Attribution and latency on cases computed by hand, and by their identities."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lm_merge.metrics import (
    adaptation_gap,
    adaptation_index,
    attribution,
    first_run,
    kl_nats,
    log_bayes_factor_nats,
    log_ratio_nats,
    settled,
    state_projection,
)


@pytest.fixture
def rows() -> torch.Tensor:
    """log p, log p0, log p1 at 6 places over 5 tokens."""
    gen = torch.Generator().manual_seed(0)
    return torch.randn(3, 6, 5, generator=gen, dtype=torch.float64).log_softmax(-1)


def test_mean_log_ratio_is_the_difference_of_divergences(rows):
    log_p, log_p0, log_p1 = rows
    every = [
        log_ratio_nats(log_p0, log_p1, torch.full((6,), token)) * log_p[:, token].exp()
        for token in range(5)
    ]
    expected = kl_nats(log_p, log_p0) - kl_nats(log_p, log_p1)
    assert_close(sum(every), expected.squeeze(-1), atol=1e-10, rtol=0)


def test_index_has_its_ends_and_is_antisymmetric(rows):
    log_p, log_p0, log_p1 = rows
    index = adaptation_index(log_p, log_p0, log_p1)
    assert_close(adaptation_index(log_p, log_p1, log_p0), 1 - index)
    assert_close(
        adaptation_index(log_p0, log_p0, log_p1), torch.zeros_like(index), atol=1e-6, rtol=0
    )
    assert_close(
        adaptation_index(log_p1, log_p0, log_p1), torch.ones_like(index), atol=1e-6, rtol=0
    )
    assert adaptation_index(log_p, log_p0, log_p0).isnan().all()


def test_attribution_by_hand():
    # probabilities 0.5 and 0.1; 0.1 and 0.5; 0.4 and 0.5 (ratio 1.25); both below 1e-3
    p0, p1 = np.log([0.5, 0.1, 0.4, 1e-4]), np.log([0.1, 0.5, 0.5, 9e-4])
    assert attribution(p0, p1) == ["original", "injected", "mixed", "neither"]
    assert attribution(p1, p0) == ["injected", "original", "mixed", "neither"]


def test_bayes_factor_sums_and_passes_over_undefined_ratios():
    found = log_bayes_factor_nats(np.array([1.0, math.nan, -3.0]))
    assert found.tolist() == [1.0, 1.0, -2.0]


def test_projection_by_hand():
    zero, one = torch.zeros(1, 2), torch.tensor([[2.0, 0.0]])
    beta, rest = state_projection(torch.tensor([[1.0, 3.0]]), zero, one)
    assert (beta.item(), rest.item()) == (0.5, 3.0)
    assert state_projection(one, zero, zero)[0].isnan().all()


@pytest.mark.parametrize(
    ("holds", "counts", "expected"),
    [
        ("1111", "1111", (0, True, 0)),
        ("0111", "1111", (1, True, 1)),
        ("0101", "0101", (1, True, 0)),  # places between do not count
        ("0001", "1111", (4, False, 4)),  # the end cuts the run off
        ("0000", "0000", (4, False, 0)),
    ],
)
def test_planted_runs_are_found(holds, counts, expected):
    as_marks = [np.array([mark == "1" for mark in one]) for one in (holds, counts)]
    found = first_run(*as_marks, 2)
    assert (found.tokens, found.happened, found.opportunities) == expected


def test_settling_and_gap():
    assert settled(np.array([1.0, 0.5, 0.01, 0.0, 0.0, 0.0, 0.01, 0.0])).tokens == 2
    assert not settled(np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])).happened
    assert not settled(np.full(4, math.nan)).happened
    between = np.array([2.0, 2.0])
    assert adaptation_gap(np.array([0.0, 0.0]), between) == 0
    assert adaptation_gap(between, between) == 1
    assert math.isnan(adaptation_gap(between, np.array([1e-4, 1e-4])))
