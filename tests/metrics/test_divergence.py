"""Divergences against torch.distributions, and their ranges."""

from math import log

import pytest
import torch
from torch.distributions import Categorical, kl_divergence
from torch.testing import assert_close

from lm_merge.metrics import js_nats, kl_nats


@pytest.fixture
def logits() -> torch.Tensor:
    return 3 * torch.randn(2, 4, 5, 97, dtype=torch.float64)


def test_both_are_those_of_torch_distributions(logits):
    p, q = (Categorical(logits=one) for one in logits)
    middle = Categorical(probs=(p.probs + q.probs) / 2)
    assert_close(kl_nats(*logits).squeeze(-1), kl_divergence(p, q))
    expected = (kl_divergence(p, middle) + kl_divergence(q, middle)) / 2
    assert_close(js_nats(*logits).squeeze(-1), expected)


@pytest.mark.parametrize("measure", [kl_nats, js_nats])
def test_zero_for_itself_and_blind_to_a_constant(measure, logits):
    p, q = logits
    assert_close(measure(p, p + 7.0), torch.zeros(4, 5, 1, dtype=p.dtype))
    assert_close(measure(p, q + 7.0), measure(p, q))
    assert (measure(p, q) > 0).all()


def test_js_is_symmetric_and_at_most_ln_2(logits):
    p, q = logits
    assert_close(js_nats(p, q), js_nats(q, p))
    assert (js_nats(100 * p, 100 * q) <= log(2) + 1e-12).all()


def test_excluded_tokens():
    p, q = torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]])
    half = torch.zeros(2)
    assert kl_nats(p, half).item() == pytest.approx(log(2))
    assert kl_nats(half, p).item() == torch.inf
    assert js_nats(p, q).item() == pytest.approx(log(2))
