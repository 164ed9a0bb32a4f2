"""Gates: alphas token by token, recorded, changed while generating."""

import threading

import pytest
import torch
from families import D_VOCAB, random_lm, random_tokens
from torch.testing import assert_close
from transformers import LogitsProcessor, LogitsProcessorList

import lm_merge as lm
from lm_merge.sites import record_resid_post

N_NEW = 8
GREEDY = {"max_new_tokens": N_NEW, "do_sample": False, "eos_token_id": None}


@pytest.fixture(scope="module")
def host() -> lm.HookedLM:
    return random_lm("qwen2", 0)


@pytest.fixture(scope="module")
def donor() -> lm.HookedLM:
    return random_lm("qwen2", 1)


def merge_of(host, donor, alpha, **arguments) -> lm.LatentMerge:
    defaults = {"operator": "lerp", "layers": [2]}
    return lm.LatentMerge(host, donor, alpha=alpha, **{**defaults, **arguments})


def entropy(model: lm.HookedLM, state: torch.Tensor) -> torch.Tensor:
    logits = model.native.lm_head(model.native.model.norm(state))
    return torch.distributions.Categorical(logits=logits).entropy()


def test_the_confidence_gate_weighs_by_the_entropies_of_both_readouts(host, donor):
    tokens = random_tokens(2, 7)
    ones = torch.ones_like(tokens)
    h, d = record_resid_post(host, tokens, ones)[2], record_resid_post(donor, tokens, ones)[2]
    gate = lm.ConfidenceGate(host.readout, donor.readout, max_alpha=0.8)
    host_nats, donor_nats = entropy(host, h), entropy(donor, d)
    expected = (0.8 * host_nats / (host_nats + donor_nats)).unsqueeze(-1)
    assert_close(gate(h, d), expected, atol=1e-5, rtol=1e-5)
    merge = merge_of(host, donor, gate)
    with merge.recording() as record, torch.no_grad():
        merge(tokens)
    assert_close(record.alpha(2), expected.squeeze(-1), atol=1e-5, rtol=1e-5)


def test_long_prompts_are_read_out_in_parts_with_equal_result(host, donor):
    gate = lm.ConfidenceGate(lambda s: s[..., :20], lambda s: s[..., 5:30])
    h, d = torch.randn(2, 1, 600, 32)
    parts = torch.cat([gate(h[:, i : i + 1], d[:, i : i + 1]) for i in range(600)], dim=1)
    assert_close(gate(h, d), parts)


def test_a_schedule_speaks_by_place_in_the_generated_text(host, donor):
    tokens = random_tokens(1, 6)
    merge = merge_of(host, donor, lm.ScheduleGate([0.9, 0.0, 0.4], prompt=0.1))
    with merge.recording() as record:
        merge.generate(tokens, **GREEDY)
    # five prompt tokens; the last prompt token decides the first new one; the last alpha stays;
    # the eighth new token has not gone through the model
    expected = [0.1] * 5 + [0.9, 0.0] + [0.4] * (N_NEW - 2)
    assert_close(record.alpha(2), torch.tensor([expected]))
    table = record.table([f"t{i}" for i in range(14)])  # the fourteenth has not gone through
    assert table.alpha.tolist() == pytest.approx(expected)
    assert table.token.tolist() == [f"t{i}" for i in range(13)]


@pytest.mark.parametrize("way", [{"use_cache": False}, {"prompt_lookup_num_tokens": 3}])
def test_a_schedule_holds_whatever_the_passes_are(host, donor, way):
    tokens = random_tokens(1, 6)
    merge = merge_of(host, donor, lm.ScheduleGate([0.9, 0.0, 0.4, 0.7], prompt=0.1))
    with merge.recording() as once:
        expected = merge.generate(tokens, **GREEDY)
    with merge.recording() as other:
        assert torch.equal(merge.generate(tokens, **way, **GREEDY), expected)
    n = once.alpha(2).shape[1]
    assert_close(other.alpha(2)[:, :n], once.alpha(2))


class AlphaByStep(LogitsProcessor):
    """Sets the merge's alpha between tokens."""

    def __init__(self, merge: lm.LatentMerge, alphas: list[float]) -> None:
        self.merge, self.alphas = merge, iter(alphas)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.merge.alpha = next(self.alphas)
        return scores


def test_alpha_changed_between_tokens_is_the_schedule_and_can_be_taken_back(host, donor):
    tokens = random_tokens(1, 6)
    alphas = [0.0, 0.9, 0.0, 0.0, 0.6, 0.3, 0.3, 0.3]
    scheduled = merge_of(host, donor, lm.ScheduleGate([0.5, *alphas], prompt=0.5))
    expected = scheduled.generate(tokens, **GREEDY)
    merge = merge_of(host, donor, 0.5)
    before = merge.generate(tokens, **GREEDY)
    processors = LogitsProcessorList([AlphaByStep(merge, alphas)])
    assert torch.equal(merge.generate(tokens, logits_processor=processors, **GREEDY), expected)
    merge.alpha = 0.5
    assert torch.equal(merge.generate(tokens, **GREEDY), before)


def test_last_records_zero_for_tokens_that_are_not_merged(host, donor):
    merge = merge_of(host, donor, 0.5, positions="last")
    with merge.recording() as record:
        merge(random_tokens(2, 5))
    assert_close(record.alpha(2), torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.5]] * 2))
    with pytest.raises(KeyError, match=r"layer=1 was not recorded; recorded are \[2\]"):
        record.alpha(1)


def test_a_gate_that_gives_nan_while_generating_is_found_at_the_end(host, donor):
    def gate(h: torch.Tensor, d: torch.Tensor, generated: torch.Tensor) -> torch.Tensor:
        return torch.where(generated == 2, torch.nan, 0.5).unsqueeze(-1)

    merge = merge_of(host, donor, gate)
    for settings in (GREEDY, {"max_new_tokens": N_NEW, "do_sample": True, "eos_token_id": None}):
        with pytest.raises(lm.NonFiniteMerge, match="layer=2, row 0, position 7"):
            merge.generate(random_tokens(1, 6), **settings)
    assert host.merge_attached is None


def test_donors_may_have_parts_in_different_blocks_and_stop_at_their_own_last(host, donor):
    other, tokens = random_lm("qwen2", 2), random_tokens(2, 7)
    parts = {1: [1.0, 0.0], 3: [0.25, 0.75], 2: [1.0, 0.0]}
    merge = lm.LatentMerge(
        host, [other, donor], operator="lerp", layers=[1, 2, 3], alpha=0.4, donor_weights=parts
    )
    assert [stream.layers for stream in merge._runner._donors._donors] == [[1, 2, 3], [3]]
    swapped = {layer: weights[::-1] for layer, weights in parts.items()}
    same = lm.LatentMerge(
        host, [donor, other], operator="lerp", layers=[1, 2, 3], alpha=0.4, donor_weights=swapped
    )
    assert_close(merge(tokens), same(tokens))
    early = {1: [0.0, 1.0], 2: [1.0, 0.0]}
    merge = lm.LatentMerge(
        host, [other, donor], operator="lerp", layers=range(1, 3), alpha=0.4, donor_weights=early
    )
    h, d = (record_resid_post(m, tokens, torch.ones_like(tokens))[1] for m in (host, donor))
    _, cache = merge.run_with_cache(tokens)
    assert_close(cache["resid_post", 1], 0.6 * h + 0.4 * d, atol=1e-4, rtol=1e-4)
    assert len(merge._runner._donors._donors[1]._blocks) == 2  # no block above its last
    assert lm.Recipe.load(merge.recipe.model_dump()) == merge.recipe
    for bad, message in (
        ({1: [1.0, 1.0]}, "give them for each merged block"),
        ({1: [1.0, 0.0], 2: [1.0, 0.0]}, "give donor 1 no part"),
    ):
        with pytest.raises(ValueError, match=message):
            lm.LatentMerge(host, [other, donor], layers=[1, 2], alpha=0.4, donor_weights=bad)


def test_prefill_in_chunks_gives_equal_logits(host, donor):
    tokens = random_tokens(2, 23)
    for positions in ("all", "last"):
        merge = merge_of(host, donor, 0.5, layers=[1, 3], positions=positions)
        common = {"output_logits": True, "return_dict_in_generate": True, **GREEDY}
        whole = merge.generate(tokens, **common)
        parts = merge.generate(tokens, prefill_chunk_size=5, **common)
        assert_close(torch.stack(parts.logits), torch.stack(whole.logits), atol=1e-4, rtol=1e-4)
        assert whole.logits[0].shape == (2, D_VOCAB)


def test_a_prompt_longer_than_the_context_is_refused_before_it_runs(host, donor):
    with pytest.raises(ValueError, match="has 64 tokens and the model's context ends at 64"):
        merge_of(host, donor, 0.5).generate(random_tokens(1, 64), max_new_tokens=1)


def test_a_host_serves_one_thread_at_a_time(host, donor):
    merge, tokens = merge_of(host, donor, 0.5), random_tokens(1, 6)
    expected, errors = merge(tokens), []

    def use() -> None:
        for call in (lambda: merge(tokens), lambda: host.native(tokens)):
            try:
                call()
            except RuntimeError as error:
                errors.append(str(error))

    with merge.hooks():
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert len(errors) == 2
        assert all("is being merged in another thread" in error for error in errors)
    thread = threading.Thread(target=lambda: errors.append(torch.equal(merge(tokens), expected)))
    thread.start()
    thread.join()
    assert errors[-1] is True  # in turn, any thread may


def test_an_interrupt_while_generating_leaves_no_trace(host, donor):
    tokens = random_tokens(1, 6)
    merge, plain = merge_of(host, donor, 0.5), host.native(tokens).logits
    expected = merge.generate(tokens, **GREEDY)

    def interrupt(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] == 9:
            raise KeyboardInterrupt
        return scores

    with pytest.raises(KeyboardInterrupt):
        merge.generate(tokens, logits_processor=LogitsProcessorList([interrupt]), **GREEDY)
    assert torch.equal(host.native(tokens).logits, plain)
    assert torch.equal(merge.generate(tokens, **GREEDY), expected)
