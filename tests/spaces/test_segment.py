"""Losses and curvature along a segment: of any family, at any block, on padded texts."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

import lm_merge as lm
from lm_merge import metrics
from lm_merge.models.linear_readout import linear_readout
from lm_merge.models.tail import Tail
from lm_merge.spaces.latents import host_donor_segment as segments
from lm_merge.spaces.latents.host_donor_segment import Segment
from tests.families import D_MODEL, FAMILIES, N_LAYERS, random_lm, random_model, random_tokens

LAST = N_LAYERS - 1
MASK = torch.tensor([[1] * 8, [1] * 6 + [0] * 2])
SCORED = MASK.roll(-1, dims=1).bool() & (torch.arange(8) < 7)


def pair(family: str, dtype: torch.dtype = torch.float64) -> list[lm.HookedLM]:
    return [lm.wrap(random_model(family, seed).to(dtype)) for seed in (0, 1)]


def segment_of(host: lm.HookedLM, donor: lm.HookedLM, layer: int, **tail_options) -> Segment:
    tokens = random_tokens(2, 8)
    passed, other = (
        Tail(model, attention="eager").record(tokens, MASK, layers=[layer])
        for model in (host, donor)
    )
    if tail_options:
        tail = Tail(host, attention="eager", above=layer, **tail_options)
        passed, other = passed.on(tail), other.on(tail)
    direction = (other.states[layer] - passed.states[layer]) * MASK.unsqueeze(-1)
    return Segment(passed, layer, direction, tokens.roll(-1, dims=1), SCORED)


@pytest.mark.parametrize("layer", [1, LAST])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_integral_of_the_curvature_is_the_gap_and_no_gap_exceeds_the_bound(family, layer):
    alpha, segment = 0.3, segment_of(*pair(family), layer)
    nodes, _ = metrics.gauss_legendre(64, alpha)
    second = segment.jets(nodes).second
    actual = metrics.gap_nats(*segment.losses(torch.tensor([0.0, 1.0, alpha])), alpha)
    found = metrics.integral_gap_nats(second, alpha, 64)
    scale = actual.abs().max().item()
    assert_close(found, actual, rtol=1e-6, atol=1e-6 * scale)
    coarse = segment.jets(metrics.gauss_legendre(16)[0]).second
    k_g = metrics.k_g(coarse, segment.sq_distance())
    assert (actual <= metrics.gap_bound_nats(k_g, segment.sq_distance(), alpha) + 1e-12).all()


@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, LAST])
def test_the_curvature_is_the_quadratic_form_of_the_full_hessian_over_all_positions(layer):
    host, donor = pair("qwen2")
    segment = segment_of(host, donor, layer)
    segment = Segment(  # the last scored token of the first text alone
        segment.passed,
        layer,
        segment.direction,
        segment.targets,
        SCORED & (torch.arange(8) == 6) & torch.tensor([[True], [False]]),
    )
    state = segment.passed.states[layer]
    target = segment.targets[0, 6:7]

    def loss(x: torch.Tensor) -> torch.Tensor:  # of the first text's positions, flattened
        with metrics.jets.TwiceDifferentiable():
            whole = torch.cat([x.view(1, 8, D_MODEL), state[1:]])
            end = segment.passed.resume(layer, whole.unsqueeze(0))[0, 0, 6]
            return cross_entropy(segment.passed.tail.readout(end).unsqueeze(0), target)

    t = 0.4
    v = segment.direction[0].flatten()
    x = (state[0].flatten() + t * v).detach()
    hessian = torch.autograd.functional.hessian(loss, x)
    found = segment.jets(torch.tensor([t], dtype=torch.float64))
    assert_close(found.second.squeeze(), v @ hessian @ v, rtol=1e-7, atol=1e-9)
    assert_close(found.value.squeeze(), loss(x), rtol=1e-9, atol=1e-9)
    expected = segment.direction[0, 6] if layer == LAST else segment.direction[0, :7]
    assert_close(segment.sq_distance(), expected.square().sum().view(1))


@pytest.mark.parametrize("layer", [1, LAST])
def test_losses_are_those_of_the_merge(layer):
    host, donor = pair("qwen2", torch.float32)
    segment, tokens = segment_of(host, donor, layer), random_tokens(2, 8)
    for alpha in (0.25, 1.0):
        logits = lm.LatentMerge(host, donor, operator="lerp", layers=[layer], alpha=alpha)(
            tokens, MASK
        )
        expected = cross_entropy(logits[SCORED], tokens.roll(-1, 1)[SCORED], reduction="none")
        (found,) = segment.losses(torch.tensor([alpha]))
        assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_parts_of_any_size_give_the_same(monkeypatch):
    points = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
    for layer in (1, LAST):
        segment = segment_of(*pair("llama"), layer)
        whole = segment.jets(points), segment.losses(points)
        with monkeypatch.context() as patch:
            patch.setattr(segments, "CHUNK_LOGITS", 200)
            patch.setattr(segments, "LEAST_ROWS", 1)
            patch.setattr(segments, "CHUNK_STATES", 1)
            assert_close(segment.jets(points), whole[0])
            assert_close(segment.losses(points), whole[1])


@pytest.mark.parametrize("family", ["qwen2", "gpt2", "gpt_neox", "llama"])
def test_the_closed_form_bounds_the_exact_curvature_at_the_last_block(family):
    segment = segment_of(*pair(family), LAST)
    nodes, _ = metrics.gauss_legendre(16)
    exact = metrics.k_g(segment.jets(nodes).second, segment.sq_distance())
    segment = replace(segment, readout=linear_readout(segment.passed.tail))
    closed = segment.closed_form(nodes)
    assert_close(
        segment.jets(nodes), segment_of(*pair(family), LAST).jets(nodes), rtol=1e-6, atol=1e-8
    )
    assert (exact <= closed).all()
    assert (exact > 0).any()


def test_the_form_of_a_readout_is_read_off_and_other_forms_are_refused():
    for family, centred in (("qwen3", False), ("gpt2", True)):
        tail = Tail(random_lm(family, 0))
        readout = linear_readout(tail)
        assert readout.centred == centred
        assert_close(readout.gain, tail._norm.weight, atol=1e-4, rtol=1e-4)
    with pytest.raises(
        ValueError, match=r"softly \(final_logit_softcapping=30.0\).*no closed form"
    ):
        linear_readout(Tail(random_lm("gemma2", 0)))
    segment = segment_of(*pair("qwen2"), 1)
    with pytest.raises(ValueError, match="readout is None"):
        segment.closed_form(torch.tensor([0.5]))
    segment = replace(segment, readout=linear_readout(segment.passed.tail))
    with pytest.raises(ValueError, match="layer=1 is not the last block, 3"):
        segment.closed_form(torch.tensor([0.5]))


@pytest.mark.parametrize("layer", [1, LAST])
def test_a_bfloat16_model_is_taken_up_in_float32(layer):
    host, donor = pair("qwen2", torch.bfloat16)
    before = {name: one.clone() for name, one in host.native.named_parameters()}
    segment = segment_of(host, donor, layer, dtype=torch.float32)
    found = segment.jets(metrics.gauss_legendre(16)[0])
    assert found.second.dtype == torch.float32
    assert all(torch.equal(before[name], one) for name, one in host.native.named_parameters())
    wide_host, wide_donor = (
        lm.wrap(random_model("qwen2", seed).to(torch.bfloat16).to(torch.float32)) for seed in (0, 1)
    )
    wide = segment_of(wide_host, wide_donor, layer)
    for text in range(2):  # the same function of the states, whatever they are
        wide.passed.states[layer][text] = segment.passed.states[layer][text]
    wide = Segment(wide.passed, layer, segment.direction, segment.targets, SCORED)
    expected = wide.jets(metrics.gauss_legendre(16)[0])
    scale = expected.second.abs().max().item()
    assert_close(found.second, expected.second, rtol=0.05, atol=0.02 * scale)
    with pytest.raises(ValueError, match="record with a tail in the model's dtype"):
        segment.passed.tail.record(random_tokens(1, 4), layers=[0])
