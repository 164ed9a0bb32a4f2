"""Gradients through merges stay finite where states oppose, vanish or are identical."""

import pytest
import torch
from torch.testing import assert_close

from lm_merge.operators import OPERATORS, karcher_mean
from lm_merge.spaces.latents.state_merge import StateMerge


@pytest.mark.parametrize("operator", sorted(set(OPERATORS) - {"task_vector"}))
@pytest.mark.parametrize("donor", ["identical", "opposite", "zero"])
def test_tokens_that_are_not_merged_give_no_nan_to_gradients(operator, donor):
    host = torch.randn(1, 3, 8, requires_grad=True)
    other = {"identical": 1.0, "opposite": -1.0, "zero": 0.0}[donor] * host.detach()
    other[0, 0] = torch.randn(8)
    other.requires_grad_()
    alpha = torch.tensor([0.5, 0.0, 0.0]).view(1, 3, 1)
    merged = StateMerge(operator, {})(alpha, [1.0], host, [other])
    merged.square().sum().backward()
    assert torch.isfinite(host.grad).all()
    assert torch.isfinite(other.grad).all()
    assert_close(host.grad[0, 1:], 2 * host[0, 1:].detach())  # the host alone, there
    assert not other.grad[0, 1:].any()


@pytest.mark.parametrize("n_models", [2, 3])
def test_identical_states_give_finite_gradients(n_models):
    state = torch.randn(4, 8)
    states = torch.stack([state] * n_models).requires_grad_()
    weights = torch.full((n_models, 4, 1), 1 / n_models)
    karcher_mean(states, weights).square().sum().backward()
    assert torch.isfinite(states.grad).all()
