"""What is merged inside hooks, and who may merge a module at a time."""

import pytest
import torch
from families import FAMILIES, random_lm, random_tokens
from torch.testing import assert_close

import lm_merge as lm


def test_two_wraps_of_one_native_model_cannot_merge_at_once():
    host, donor = random_lm("qwen2", 0), random_lm("qwen2", 1)
    same = lm.wrap(host.native)
    one = lm.LatentMerge(host, donor, layers=[1], alpha=0.5)
    two = lm.LatentMerge(same, donor, layers=[2], alpha=0.5)
    votes = lm.LogitEnsemble([same, donor])
    with one.hooks():
        assert same.merge_attached is host.merge_attached is not None
        for other in (two, votes):
            with pytest.raises(RuntimeError, match="is inside the hooks of another merge"):
                other(random_tokens(1, 4))
    assert host.merge_attached is None
    assert same.merge_attached is None
    two(random_tokens(1, 4))


def test_a_bridge_wrapped_again_is_the_same_host():
    host, donor = random_lm("qwen2", 0), random_lm("qwen2", 1)
    again = lm.wrap(host.hooked)
    with (
        lm.LatentMerge(host, donor, layers=[1], alpha=0.5).hooks(),
        pytest.raises(RuntimeError, match="another merge"),
    ):
        lm.LatentMerge(again, donor, layers=[1], alpha=0.5).run_with_cache(random_tokens(1, 4))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_body_by_itself_is_merged_inside_hooks(family):
    host, donor = random_lm(family, 0), random_lm(family, 1)
    merge, tokens = lm.LatentMerge(host, donor, layers=[1, 3], alpha=0.5), random_tokens(1, 6)
    body, head = host.native.base_model, host.native.get_output_embeddings()
    plain = body(tokens, use_cache=False)[0]
    with merge.hooks():
        merged = body(tokens, use_cache=False)[0]
        again = body(input_ids=tokens, use_cache=False).last_hidden_state
    assert torch.equal(merged, again)
    assert not torch.allclose(merged, plain)
    if family != "gemma2":  # whose logits are capped
        assert_close(head(merged), merge(tokens))
    assert torch.equal(body(tokens, use_cache=False)[0], plain)


def test_the_body_of_an_ensembles_host_is_refused_inside_hooks():
    ensemble = lm.LogitEnsemble([random_lm("qwen2", 0), random_lm("qwen2", 1)])
    native, tokens = ensemble.host.native, random_tokens(1, 6)
    with ensemble.hooks():
        native(tokens)
        with pytest.raises(RuntimeError, match="the body of .* was called by itself"):
            native.model(tokens)
        with pytest.raises(ValueError, match="labels"):
            native(tokens, labels=tokens)
        with pytest.raises(RuntimeError, match="by itself"):
            native.model(tokens)
    native.model(tokens)


def test_a_block_by_itself_is_refused_inside_hooks():
    merge = lm.LatentMerge(random_lm("gpt2", 0), random_lm("gpt2", 1), layers=[1], alpha=0.5)
    block, state = merge.host.native_blocks()[1], torch.randn(1, 4, 32)
    with merge.hooks(), pytest.raises(RuntimeError, match="block 1 .* called by itself"):
        block(state)
    block(state)


def test_gradient_checkpointing_of_a_merged_host_is_refused():
    merge = lm.LatentMerge(random_lm("qwen2", 0), random_lm("qwen2", 1), layers=[1], alpha=0.5)
    native = merge.host.native
    native.train()
    native.model.layers[0].gradient_checkpointing = True
    with pytest.raises(ValueError, match="gradient_checkpointing_disable"):
        merge(random_tokens(1, 4))
    native.eval()
    merge(random_tokens(1, 4))  # nothing is computed again
