"""The tail of a model: what it gives is what the whole model, or the whole merge, gives."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

import lm_merge as lm
from lm_merge.models.tail import Tail
from tests.families import FAMILIES, random_lm, random_tokens

MASK = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1], [1] * 8, [0] * 4 + [1] * 4])


@pytest.mark.parametrize("family", FAMILIES)
def test_resumed_at_any_block_the_model_gives_its_own_logits(family):
    model: Any = random_lm(family, 0)
    tokens = random_tokens(3, 8)
    passed = Tail(model).record(tokens, MASK, layers=[0, 2])
    positions = (MASK.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        own = model.native(tokens, attention_mask=MASK, position_ids=positions).logits
        for layer in (0, 2, 3):
            end = passed.resume(layer, passed.states[layer].expand(2, -1, -1, -1))
            for logits in passed.tail.readout(end):
                assert_close(logits[MASK.bool()], own[MASK.bool()], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["qwen2", "gemma2", "gpt2"])
def test_merged_states_resumed_together_are_the_merges_one_by_one(family):
    host, donor, tokens = random_lm(family, 0), random_lm(family, 1), random_tokens(3, 8)
    passed, other = (Tail(model).record(tokens, MASK, layers=[1]) for model in (host, donor))
    alphas = (0.25, 0.5, 0.9)
    states = [(1 - a) * passed.states[1] + a * other.states[1] for a in alphas]
    with torch.no_grad():
        logits = passed.tail.readout(passed.resume(1, torch.stack(states)))
        for alpha, got in zip(alphas, logits, strict=True):
            merge = lm.LatentMerge(host, donor, operator="lerp", layers=[1], alpha=alpha)
            assert_close(got[MASK.bool()], merge(tokens, MASK)[MASK.bool()], atol=1e-5, rtol=1e-5)


def test_hooks_on_the_model_do_not_act_and_nothing_is_left_on_it():
    host, donor, tokens = random_lm("qwen2", 0), random_lm("qwen2", 1), random_tokens(1, 5)
    tail = Tail(host)
    before = tail.record(tokens, layers=[0]).states[3]
    with lm.LatentMerge(host, donor, layers=[0], alpha=0.5).hooks():
        assert torch.equal(tail.record(tokens, layers=[0]).states[3], before)
    assert not any(block._forward_hooks for block in host.native_blocks())


def test_second_derivatives_flow_through_eager_attention():
    host, tokens = random_lm("qwen2", 0), random_tokens(1, 5)
    passed = Tail(host, attention="eager").record(tokens, layers=[1])
    state = passed.states[1].unsqueeze(0).requires_grad_()
    (first,) = torch.autograd.grad(
        passed.tail.readout(passed.resume(1, state)).square().sum(), state, create_graph=True
    )
    (second,) = torch.autograd.grad(first.square().sum(), state)
    assert second.abs().sum() > 0


def test_layers_outside_and_layers_not_recorded_are_refused():
    tail, tokens = Tail(random_lm("qwen2", 0)), random_tokens(1, 5)
    with pytest.raises(ValueError, match=r"layers=\[4\] are outside 0..3"):
        tail.record(tokens, layers=[4])
    passed = tail.record(tokens, layers=[2])
    with pytest.raises(ValueError, match=r"layer=1 was not recorded; recorded are \[2, 3\]"):
        passed.resume(1, passed.states[2].unsqueeze(0))
