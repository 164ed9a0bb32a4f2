"""What a merge in the residual stream must be, for every family, operator and view."""

import numpy as np
import pytest
import torch
from families import D_VOCAB, FAMILIES, N_LAYERS, random_lm, random_tokens
from torch.testing import assert_close
from transformer_lens.utilities import get_act_name

import lm_merge as lm
from lm_merge.coefficients import AgreementGate
from lm_merge.operators import OPERATORS, needs_base
from lm_merge.sites import record_resid_post
from lm_merge.spaces.latents.alpha_by_layer import layer_schedule

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
STREAMS = ("pure", "coupled")


@pytest.fixture(scope="module")
def host() -> lm.HookedLM:
    return random_lm("qwen2", 0)


@pytest.fixture(scope="module")
def donor() -> lm.HookedLM:
    return random_lm("qwen2", 1)


@pytest.fixture(scope="module")
def other() -> lm.HookedLM:
    return random_lm("qwen2", 2)


def streams(model: lm.HookedLM, tokens: torch.Tensor) -> torch.Tensor:
    return record_resid_post(model, tokens, torch.ones_like(tokens))


def merge_of(host, donor, operator="lerp", **arguments) -> lm.LatentMerge:
    base = {"base": donor} if needs_base(OPERATORS[operator]) else {}
    return lm.LatentMerge(host, donor, operator=operator, **{"layers": [1, 3], **base, **arguments})


def continue_from(model: lm.HookedLM, layer: int, state: torch.Tensor, tokens) -> torch.Tensor:
    """Logits of a model whose resid_post of a block is replaced: independent of the library's hooks."""
    handle = model.native_blocks()[layer].register_forward_hook(
        lambda module, inputs, output: (state, *output[1:]) if isinstance(output, tuple) else state
    )
    logits = model.native(tokens).logits
    handle.remove()
    return logits


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_in_both_views(family, stream):
    host, donor, tokens = random_lm(family, 0), random_lm(family, 1), random_tokens(2, 9)
    merge = merge_of(host, donor, "slerp", alpha=0.4, donor_stream=stream)
    native = merge(tokens)
    assert native.shape == (2, 9, D_VOCAB)
    assert (native - host.native(tokens).logits).abs().max() > 0.1  # it does something
    hooked, _ = merge.run_with_cache(tokens)
    assert_close(hooked, native, **TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_alpha_one_is_the_donor_to_the_layer_and_the_host_from_there(family):
    host, donor, tokens = random_lm(family, 0), random_lm(family, 1), random_tokens(2, 9)
    for layer in (0, 2, N_LAYERS - 1):
        merge = merge_of(host, donor, layers=[layer], alpha=1.0)
        state = streams(donor, tokens)[layer]
        assert_close(merge(tokens), continue_from(host, layer, state, tokens), **TOLERANCE)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_alpha_zero_gives_the_hosts_logits_bit_for_bit(host, donor, operator, stream):
    tokens = random_tokens(2, 9)
    merge = merge_of(host, donor, operator, alpha=0.0, donor_stream=stream)
    assert torch.equal(merge(tokens), host.native(tokens).logits)
    assert torch.equal(merge.run_with_cache(tokens)[0], host.hooked(tokens))


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_a_model_merged_with_itself_is_itself(host, operator, stream):
    tokens = random_tokens(2, 9)
    merge = merge_of(host, host, operator, alpha=0.6, donor_stream=stream)
    assert_close(merge(tokens), host.native(tokens).logits, atol=1e-5, rtol=1e-5)


def test_a_coupled_donor_goes_on_from_the_merged_state(host, donor):
    tokens = random_tokens(2, 9)
    first = streams(host, tokens)[1].lerp(streams(donor, tokens)[1], 0.3)
    # both models go on from the first merge; at block 3 each gives its own state, merged again
    states = {}
    for model in (host, donor):
        handle = model.native_blocks()[3].register_forward_hook(
            lambda m, i, output, model=model: states.__setitem__(model.name, output)
        )
        model.name = str(id(model))
        continue_from(model, 1, first, tokens)
        handle.remove()
    second = states[host.name].lerp(states[donor.name], 0.3)
    expected = continue_from(host, 3, second, tokens)
    merge = merge_of(host, donor, alpha=0.3, donor_stream="coupled")
    assert_close(merge(tokens), expected, **TOLERANCE)
    pure = merge_of(host, donor, alpha=0.3, donor_stream="pure")
    assert not torch.allclose(pure(tokens), expected, **TOLERANCE)


def test_several_donors_share_alpha_by_their_weights(host, donor, other):
    tokens = random_tokens(2, 9)
    merge = lm.LatentMerge(
        host, [donor, other], operator="lerp", layers=[2], alpha=0.6, donor_weights=[1.0, 3.0]
    )
    parts = [streams(model, tokens)[2] for model in (host, donor, other)]
    state = 0.4 * parts[0] + 0.15 * parts[1] + 0.45 * parts[2]
    assert_close(merge(tokens), continue_from(host, 2, state, tokens), **TOLERANCE)


def test_task_vector_reads_the_ancestors_stream(host, donor, other):
    tokens = random_tokens(2, 9)
    merge = lm.LatentMerge(host, donor, operator="task_vector", layers=[2], alpha=0.5, base=other)
    h, d, b = (streams(model, tokens)[2] for model in (host, donor, other))
    expected = continue_from(host, 2, h + 0.5 * (d - b), tokens)
    assert_close(merge(tokens), expected, **TOLERANCE)


def test_each_layer_has_its_own_alpha_and_all_can_be_changed(host, donor):
    tokens = random_tokens(1, 6)
    merge = lm.LatentMerge(host, donor, operator="lerp", layers={1: 0.2, 3: 0.7})
    both = lm.LatentMerge(host, donor, operator="lerp", layers=[1, 3], alpha=0.9)
    assert merge.alpha == {1: 0.2, 3: 0.7}
    merge.alpha = 0.9
    assert merge.alpha == 0.9
    assert torch.equal(merge(tokens), both(tokens))
    merge.alpha = {1: 0.0}
    assert merge.alpha == {1: 0.0, 3: 0.9}
    with pytest.raises(ValueError, match="layers .2. are not merged here"):
        merge.alpha = {2: 0.5}


def test_regmean_takes_lambda_in_place_of_alpha(host, donor):
    merge = lm.LatentMerge(host, donor, operator="regmean", layers=[1], lambda_reg=3.0)
    assert merge.alpha == 0.25
    with pytest.raises(ValueError, match="lambda_reg=3.0 and alpha=0.5"):
        lm.LatentMerge(host, donor, operator="regmean", layers=[1], alpha=0.5, lambda_reg=3.0)


def test_left_padded_batches_equal_single_prompts(host, donor):
    for positions in ("all", "last"):
        merge = merge_of(host, donor, "slerp", alpha=0.4, positions=positions)
        long, short = random_tokens(1, 9, seed=1), random_tokens(1, 5, seed=2)
        padded = torch.cat([long, torch.cat([torch.zeros(1, 4).long(), short], dim=1)])
        mask = torch.ones_like(padded)
        mask[1, :4] = 0
        together = merge(padded, mask)
        assert_close(together[:1], merge(long), **TOLERANCE)
        assert_close(together[1:, 4:], merge(short), **TOLERANCE)


def test_gpt2_too_counts_positions_over_real_tokens():
    merge = merge_of(random_lm("gpt2", 0), random_lm("gpt2", 1), alpha=0.4)
    short = random_tokens(1, 5)
    padded = torch.cat([torch.zeros(1, 4).long(), short], dim=1)
    mask = (torch.arange(9) >= 4).long().unsqueeze(0)
    assert_close(merge(padded, mask)[:, 4:], merge(short), **TOLERANCE)


def test_last_merges_the_last_real_token_alone(host, donor):
    tokens = random_tokens(1, 7)
    merge = merge_of(host, donor, alpha=0.5, layers=[2], positions="last")
    h, d = streams(host, tokens)[2], streams(donor, tokens)[2]
    state = h.clone()
    state[:, -1] = (h[:, -1] + d[:, -1]) / 2
    assert_close(merge(tokens), continue_from(host, 2, state, tokens), **TOLERANCE)


def test_hooks_reach_every_caller_and_leave_no_trace(host, donor):
    tokens = random_tokens(1, 6)
    merge = merge_of(host, donor, alpha=0.5)
    native, hooked = host.native(tokens).logits, host.hooked(tokens)
    merged = merge(tokens)
    with merge.hooks():
        assert_close(host.native(tokens).logits, merged, **TOLERANCE)
        assert_close(host.hooked(tokens), merged, **TOLERANCE)
        assert_close(host.hooked.run_with_hooks(tokens, fwd_hooks=[]), merged, **TOLERANCE)
        with merge.hooks():  # nested: still merged once
            assert_close(host.native(tokens).logits, merged, **TOLERANCE)
        assert_close(host.native(tokens).logits, merged, **TOLERANCE)
    assert torch.equal(host.native(tokens).logits, native)
    assert torch.equal(host.hooked(tokens), hooked)


def test_hooks_are_gone_after_an_exception(host, donor):
    tokens = random_tokens(1, 6)
    native = host.native(tokens).logits
    merge = merge_of(host, donor, alpha=0.5)

    def failing_gate(h: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the gate broke")

    merge.alpha = failing_gate
    for call in (merge, merge.run_with_cache, lambda t: merge.generate(t, max_new_tokens=2)):
        with pytest.raises(RuntimeError, match="the gate broke"):
            call(tokens)
        assert torch.equal(host.native(tokens).logits, native)
        assert host.merge_attached is None
    merge.alpha = 0.5
    assert not torch.equal(merge(tokens), native)  # and it works again


def test_the_cached_activations_are_the_merged_ones(host, donor):
    tokens = random_tokens(2, 6)
    _, cache = merge_of(host, donor, alpha=0.5, layers=[2]).run_with_cache(tokens)
    h, d = streams(host, tokens), streams(donor, tokens)
    assert_close(cache["resid_post", 1], h[1], **TOLERANCE)
    assert_close(cache["resid_post", 2], (h[2] + d[2]) / 2, **TOLERANCE)


def test_a_users_own_hook_runs_after_the_merge(host, donor):
    tokens, seen = random_tokens(1, 6), {}
    merge = merge_of(host, donor, alpha=0.5, layers=[2])
    expected = (streams(host, tokens)[2] + streams(donor, tokens)[2]) / 2
    name = get_act_name("resid_post", 2)
    with host.hooked.hooks(fwd_hooks=[(name, lambda value, hook: seen.update(hooked=value))]):
        merge.run_with_cache(tokens)
    handle = host.native_blocks()[2].register_forward_hook(
        lambda module, inputs, output: seen.update(native=output)
    )
    merge(tokens)
    handle.remove()
    assert_close(seen["hooked"], expected, **TOLERANCE)
    assert_close(seen["native"], expected, **TOLERANCE)


def test_gradients_flow_into_host_and_donor(host, donor):
    tokens = random_tokens(1, 6)
    merge = merge_of(host, donor, "slerp", alpha=0.5, layers=[2])
    for model in (host, donor):
        model.native.zero_grad()
    merge(tokens).square().mean().backward()
    below, above = (host.native.model.layers[layer].mlp.up_proj.weight for layer in (0, 3))
    assert below.grad.abs().sum() > 0
    assert above.grad.abs().sum() > 0
    assert donor.native.model.layers[1].mlp.up_proj.weight.grad.abs().sum() > 0
    assert donor.native.model.layers[3].mlp.up_proj.weight.grad is None  # never ran


def test_bfloat16_models_merge_in_float32_and_give_bfloat16(host, donor):
    half = [random_lm("qwen2", seed) for seed in (0, 1)]
    for model in half:
        model.native.to(torch.bfloat16)
    merged = merge_of(*half, "slerp", alpha=0.5)(random_tokens(1, 6))
    assert merged.dtype == torch.bfloat16
    reference = merge_of(host, donor, "slerp", alpha=0.5)(random_tokens(1, 6))
    assert_close(merged.float(), reference, atol=0.15, rtol=0.1)


def test_a_gate_gives_every_token_its_alpha(host, donor):
    tokens = random_tokens(2, 6)
    merge = merge_of(host, donor, layers=[2], alpha=AgreementGate())
    h, d = streams(host, tokens)[2], streams(donor, tokens)[2]
    alpha = torch.cosine_similarity(h, d, dim=-1).clamp(min=0).unsqueeze(-1)
    assert 0 < (alpha > 0).float().mean() < 1  # some tokens agree, some do not
    expected = continue_from(host, 2, h + alpha * (d - h), tokens)
    assert_close(merge(tokens), expected, **TOLERANCE)
    with pytest.raises(ValueError, match="alpha is a gate"):
        merge.recipe  # noqa: B018


def test_a_gate_of_the_wrong_shape_is_refused(host, donor):
    merge = merge_of(host, donor, alpha=lambda h, d: torch.zeros(2, 6))
    with pytest.raises(ValueError, match=r"gave \(2, 6\); .* shape \(2, 6, 1\)"):
        merge(random_tokens(2, 6))


def test_a_state_that_is_not_finite_is_found_with_layer_and_position(host, donor):
    def gate(h: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        alpha = torch.full((*h.shape[:-1], 1), 0.5)
        alpha[1, 4] = torch.nan
        return alpha

    merge = lm.LatentMerge(host, donor, operator="lerp", layers={1: 0.5, 2: gate})
    with pytest.raises(lm.NonFiniteMerge, match="layer=2, row 1, position 4"):
        merge(random_tokens(2, 6))
    mask = torch.ones(2, 6).long()
    mask[1, 5:] = mask[1, 4:5] = 0  # the same place as padding harms nobody
    assert torch.isfinite(merge(random_tokens(2, 6), mask)).all()


def test_two_merges_may_share_a_host_in_turn_but_not_at_once(host, donor, other):
    one, two = merge_of(host, donor, alpha=0.5), merge_of(host, other, alpha=0.5)
    tokens = random_tokens(1, 6)
    expected = two(tokens)
    with one.hooks(), pytest.raises(RuntimeError, match="inside the hooks of another merge"):
        two(tokens)
    assert torch.equal(two(tokens), expected)


def test_a_pipeline_of_two_merges_may_swap_host_and_donor(host, donor):
    tokens = random_tokens(1, 6)
    one = merge_of(host, donor, alpha=0.5)
    expected = one(tokens)
    with merge_of(donor, host, alpha=0.5).hooks():
        assert torch.equal(one(tokens), expected)  # the donor's stream does not see the hooks


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": [4], "alpha": 0.5}, ValueError, r"layer=4 is outside 0\.\.3 for host"),
        ({"layers": [-1], "alpha": 0.5}, ValueError, "layer=-1 is no block"),
        ({"layers": [1, 1], "alpha": 0.5}, ValueError, "names a layer twice"),
        ({"layers": [], "alpha": 0.5}, ValueError, "layers is empty"),
        ({"layers": [1]}, ValueError, "come without alpha"),
        ({"layers": {1: 0.5}, "alpha": 0.5}, ValueError, "both give the donors' weight"),
        ({"alpha": float("nan")}, ValueError, "alpha=nan is neither a finite number"),
        ({"alpha": 0.5, "operator": "slrp"}, ValueError, "unknown operator 'slrp'"),
        ({"alpha": 0.5, "operator": "task_vector"}, ValueError, "needs base="),
        ({"alpha": 0.5, "positions": "first"}, ValueError, "positions='first' is unknown"),
        ({"alpha": 0.5, "donor_stream": "both"}, ValueError, "donor_stream='both' is unknown"),
        ({"alpha": 0.5, "donor_weights": [1.0, 2.0]}, ValueError, "has 2 entries for 1 donors"),
        ({"alpha": 0.5, "temperature": 1}, TypeError, "takes no argument temperature"),
        ({"alpha": 0.5, "lambda_reg": 1}, ValueError, "takes no argument lambda_reg; only regmean"),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(host, donor, arguments, error, message):
    with pytest.raises(error, match=message):
        lm.LatentMerge(host, donor, **{"layers": [1], **arguments})


def test_an_interrupt_goes_on_past_states_that_are_not_finite(host, donor):
    def gate(h: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return torch.full_like(h[..., :1], torch.nan)

    merge = lm.LatentMerge(host, donor, layers=[1], alpha=gate)
    for stop in (KeyboardInterrupt, SystemExit):
        with pytest.raises(stop), merge.after_prompt(3):  # noqa: PT012
            merge(random_tokens(1, 3))
            raise stop
    with pytest.raises(lm.NonFiniteMerge), merge.after_prompt(3):  # noqa: PT012
        merge(random_tokens(1, 3))
        raise RuntimeError


def test_a_merge_used_in_inference_mode_has_gradients_later(host, donor):
    merge = lm.LatentMerge(host, donor, layers=[1], alpha=0.40625)  # in no other test
    with torch.inference_mode():
        merge(random_tokens(1, 3))
    merge(random_tokens(1, 3)).sum().backward()
    assert donor.native_blocks()[0].mlp.up_proj.weight.grad.abs().sum() > 0
    host.native.zero_grad()
    donor.native.zero_grad()


def test_a_pass_stopped_at_a_layer_is_checked_too(host, donor):
    def gate(h: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return torch.full((*h.shape[:-1], 1), torch.nan)

    merge = merge_of(host, donor, alpha=gate, layers=[1])
    with pytest.raises(lm.NonFiniteMerge, match="layer=1, row 0, position 0"):
        merge.run_with_cache(random_tokens(1, 5), stop_at_layer=3)
    assert host.merge_attached is None


def test_the_schedule_cannot_be_changed_behind_the_merges_back(host, donor):
    merge = merge_of(host, donor, alpha=0.5, layers=[1])
    with pytest.raises(TypeError):
        merge.layers[2] = 0.5
    with pytest.raises(ValueError, match=r"layers=3 is no list of blocks; give \[3\]"):
        layer_schedule(3, 0.5)
    assert layer_schedule([np.int64(2)], np.float32(0.5)) == {2: 0.5}
