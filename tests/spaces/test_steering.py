"""Steering vectors act in both views and leave no trace."""

import pytest
import torch
from families import D_MODEL, random_lm, random_tokens
from torch.testing import assert_close

import lm_merge as lm


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_a_vector_shifts_the_stream_in_both_views_and_then_is_gone(family):
    model, tokens = random_lm(family, 0), random_tokens(1, 6)
    vector = torch.randn(D_MODEL)
    plain, (_, before) = model.native(tokens).logits, model.hooked.run_with_cache(tokens)
    with lm.steered(model, lm.Steering({2: vector}, alpha=0.5)):
        steered = model.native(tokens).logits
        logits, after = model.hooked.run_with_cache(tokens)
    shift = after["resid_post", 2] - before["resid_post", 2]
    assert_close(shift, (0.5 * vector).expand_as(shift), atol=1e-5, rtol=1e-5)
    assert_close(logits, steered, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(steered, plain)
    assert torch.equal(model.native(tokens).logits, plain)


def test_a_vector_that_does_not_fit_is_refused():
    model = random_lm("qwen2", 0)
    with pytest.raises(ValueError, match=r"layer=4 is outside 0\.\.3"):  # noqa: PT012
        with lm.steered(model, lm.Steering({4: torch.zeros(D_MODEL)})):
            pass
    with pytest.raises(ValueError, match=r"has shape \(3,\); .* takes \(32,\)"):  # noqa: PT012
        with lm.steered(model, lm.Steering({1: torch.zeros(3)})):
            pass
