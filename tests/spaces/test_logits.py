"""Logit ensembles: every step all models speak, whatever `generate` does to the caches."""

import warnings

import pytest
import torch
from families import D_VOCAB, FAMILIES, random_lm, random_model, random_tokens
from torch.testing import assert_close
from transformers import PreTrainedTokenizerBase

import lm_merge as lm
from lm_merge.operators.distributions import ENSEMBLE_METHODS
from lm_merge.spaces.logits import weights_from_alpha

N_NEW = 10
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
GREEDY = {"max_new_tokens": N_NEW, "do_sample": False, "eos_token_id": None}
WAYS = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "prompt_lookup": {"prompt_lookup_num_tokens": 3},
    "chunked_prefill": {"prefill_chunk_size": 4},
}


@pytest.fixture(scope="module")
def models() -> list[lm.HookedLM]:
    return [random_lm("qwen2", seed) for seed in range(3)]


def logits_of(speaker: object, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return speaker(tokens)


def by_recomputation(ensemble: lm.LogitEnsemble, tokens: torch.Tensor) -> torch.Tensor:
    """Greedy tokens from the models' own whole forwards; knows nothing of caches or hooks."""
    merge = ENSEMBLE_METHODS[ensemble.method]
    weights = torch.tensor(ensemble.weights).view(-1, 1, 1)
    for _ in range(N_NEW):
        logits = torch.stack([model.native(tokens).logits[:, -1] for model in ensemble.models])
        tokens = torch.cat([tokens, merge(logits, weights).argmax(-1, keepdim=True)], dim=1)
    return tokens


def test_logits_are_the_models_logits_merged(models):
    tokens = random_tokens(2, 9)
    ensemble = lm.LogitEnsemble(models, weights=[1.0, 1.0, 2.0])
    p = [model.native(tokens).logits.softmax(-1) for model in models]
    assert_close(ensemble(tokens).softmax(-1), 0.25 * p[0] + 0.25 * p[1] + 0.5 * p[2], **TOLERANCE)
    assert ensemble.weights == (0.25, 0.25, 0.5)


@pytest.mark.parametrize("n_models", [2, 3])
@pytest.mark.parametrize("method", ENSEMBLE_METHODS)
def test_cached_decoding_is_recomputation(models, method, n_models):
    ensemble = lm.LogitEnsemble(models[:n_models], method=method)
    tokens = random_tokens(2, 9)
    assert torch.equal(ensemble.generate(tokens, **GREEDY), by_recomputation(ensemble, tokens))


@pytest.mark.parametrize("family", FAMILIES)
def test_any_architecture_speaks_beside_any_other(models, family):
    ensemble = lm.LogitEnsemble([models[0], random_lm(family, 5)])
    back = lm.LogitEnsemble([random_lm(family, 5), models[0]])
    tokens = random_tokens(1, 9)
    got = ensemble.generate(tokens, **GREEDY)
    assert torch.equal(got, by_recomputation(ensemble, tokens))
    assert torch.equal(got, back.generate(tokens, **GREEDY))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["soft", pytest.param("majority", marks=pytest.mark.slow)])
def test_every_way_of_decoding_equals_the_same_without_a_cache(models, way, method):
    ensemble, tokens = lm.LogitEnsemble(models[:2], method=method), random_tokens(1, 9)
    uncached = {"num_beams": 3} if way == "beams" else {}
    expected = ensemble.generate(tokens, use_cache=False, **uncached, **GREEDY)
    assert torch.equal(ensemble.generate(tokens, **WAYS[way], **GREEDY), expected)
    with ensemble.hooks():
        assert torch.equal(ensemble.host.native.generate(tokens, **WAYS[way], **GREEDY), expected)


def test_an_assistant_changes_speed_and_not_text(models):
    ensemble, tokens = lm.LogitEnsemble(models[:2]), random_tokens(1, 9)
    expected = ensemble.generate(tokens, **GREEDY)
    host, donor = models[:2]
    for assistant in (host, host.native, donor, donor.native):
        assert torch.equal(ensemble.generate(tokens, assistant_model=assistant, **GREEDY), expected)


def test_padded_batches_equal_single_runs(models):
    for family in ("qwen2", "gpt2"):
        ensemble = lm.LogitEnsemble([models[0], random_lm(family, 3)])
        long, short = random_tokens(1, 9, seed=1), random_tokens(1, 5, seed=2)
        padded = torch.cat([long, torch.cat([torch.zeros(1, 4).long(), short], dim=1)])
        mask = torch.ones_like(padded)
        mask[1, :4] = 0
        assert_close(ensemble(padded, mask)[1:, 4:], ensemble(short), atol=1e-4, rtol=1e-4)
        together = ensemble.generate(padded, attention_mask=mask, **GREEDY)
        assert torch.equal(together[:1], ensemble.generate(long, **GREEDY))
        assert torch.equal(together[1:, 4:], ensemble.generate(short, **GREEDY))


def test_samples_follow_the_ensembles_distribution_and_the_seed(models):
    ensemble = lm.LogitEnsemble(models[:2], weights=[0.3, 0.7])
    tokens = random_tokens(1, 4)
    common = {"max_new_tokens": 1, "do_sample": True, "top_k": 0, "num_return_sequences": 4000}
    drawn = ensemble.generate(tokens, seed=1, **common)[:, -1]
    assert torch.equal(drawn, ensemble.generate(tokens, seed=1, **common)[:, -1])
    counts = torch.bincount(drawn, minlength=D_VOCAB)

    def chi_squared(speaker: object) -> float:
        expected = 4000 * logits_of(speaker, tokens)[0, -1].softmax(-1)
        return float(((counts - expected) ** 2 / expected).sum())

    assert chi_squared(ensemble) < 155  # 96 degrees of freedom: 1 in 10,000 exceeds it
    assert min(chi_squared(model) for model in models[:2]) > 300


@pytest.mark.parametrize("method", ["soft", "mean"])
def test_weight_one_is_the_model_itself_and_weights_can_be_changed(models, method):
    tokens = random_tokens(2, 9)
    ensemble = lm.LogitEnsemble(models, weights=[1.0, 0.0, 0.0], method=method)
    for index, model in enumerate(models):
        ensemble.weights = [float(index == i) for i in range(3)]
        own = model.native(tokens).logits
        assert_close(ensemble(tokens), own, **TOLERANCE)  # the logits, not their softmax only
        assert_close(ensemble(tokens).softmax(-1), own.softmax(-1), atol=1e-6, rtol=0.0)
        # a repetition penalty is not indifferent to the scale of logits
        penalty = {"repetition_penalty": 1.3, **GREEDY}
        assert torch.equal(ensemble.generate(tokens, **penalty), model.generate(tokens, **penalty))


def test_alpha_is_the_donors_total_weight(models):
    ensemble = lm.LogitEnsemble(models, weights=[0.5, 0.1, 0.4])
    assert ensemble.alpha == 0.5
    ensemble.alpha = 0.25
    assert ensemble.weights == pytest.approx((0.75, 0.05, 0.2))
    ensemble.alpha = 0.0
    ensemble.alpha = 1.0
    assert ensemble.weights == (0.0, 0.5, 0.5)
    with pytest.raises(ValueError, match=r"alpha=1.5 is outside 0\.\.1"):
        ensemble.alpha = 1.5


def test_a_weight_changed_while_generating_finds_all_caches_in_step(models):
    ensemble, tokens = lm.LogitEnsemble(models[:2], weights=[1.0, 0.0]), random_tokens(1, 6)
    with ensemble.hooks():
        first = ensemble.host.native(tokens, use_cache=True)
        ensemble.weights = [0.0, 1.0]
        more = first.logits[:, -1:].argmax(-1)
        second = ensemble.host.native(more, past_key_values=first.past_key_values)
    whole = models[1].native(torch.cat([tokens, more], dim=1)).logits
    assert_close(second.logits[:, -1], whole[:, -1], **TOLERANCE)


def test_padding_rows_of_the_unembedding_may_differ(models):
    for d_vocab in (D_VOCAB - 10, D_VOCAB + 15):
        other = random_lm("qwen2", 7, vocab_size=d_vocab)
        other.tokenizer = models[0].tokenizer = _Tokenizer(D_VOCAB - 12)
        tokens = random_tokens(1, 6).clamp(max=D_VOCAB - 13)
        for pair in ([models[0], other], [other, models[0]]):
            ensemble = lm.LogitEnsemble(pair)
            logits = ensemble(tokens)
            assert logits.shape[-1] == pair[0].d_vocab
            shared = min(D_VOCAB, d_vocab)
            # rows that one of them lacks are no tokens; it spreads its probability over the others
            p = [m.native(tokens).logits[..., : pair[0].d_vocab].softmax(-1) for m in pair]
            expected = (p[0][..., :shared] + p[1][..., :shared]) / 2
            assert_close(logits.softmax(-1)[..., :shared], expected, **TOLERANCE)
            ensemble.weights = [1.0, 0.0]
            assert_close(ensemble(tokens), logits_of(pair[0], tokens), **TOLERANCE)
    models[0].tokenizer = None


class _Tokenizer(PreTrainedTokenizerBase):
    """As much of a tokenizer as the check of two vocabularies asks for."""

    chat_template = eos_token = None

    def __init__(self, n_tokens: int, shift: int = 0) -> None:
        self.vocabulary = {f"token {i}": (i + shift) % n_tokens for i in range(n_tokens)}

    def get_vocab(self) -> dict[str, int]:
        return self.vocabulary

    def get_added_vocab(self) -> dict[str, int]:
        return {}


def test_another_vocabulary_is_refused(models):
    other = random_lm("qwen2", 7)
    other.tokenizer, models[0].tokenizer = _Tokenizer(90), _Tokenizer(90, shift=1)
    with pytest.raises(lm.IncompatibleModels, match=r"90 tokens, for example 'token 89' with id"):
        lm.LogitEnsemble([models[0], other])
    models[0].tokenizer = None
    with pytest.raises(
        lm.IncompatibleModels, match=r"no tokenizer to compare\): host 97, donor 80"
    ):
        lm.LogitEnsemble([models[0], random_lm("llama", 0, vocab_size=80)])


def test_hooks_reach_every_caller_and_leave_no_trace(models):
    tokens = random_tokens(1, 6)
    ensemble = lm.LogitEnsemble(models[:2])
    host = ensemble.host
    before, expected = host.native(tokens).logits, ensemble(tokens)
    with ensemble.hooks():
        assert_close(host.native(tokens).logits, expected, **TOLERANCE)
        assert_close(host.native(tokens, return_dict=False)[0], expected, **TOLERANCE)
        with ensemble.hooks():
            assert_close(host(tokens), expected, **TOLERANCE)
        with pytest.raises(RuntimeError, match="inside the hooks of another merge"):
            lm.LogitEnsemble([host, models[2]])(tokens)
        assert_close(ensemble(tokens), expected, **TOLERANCE)
    assert torch.equal(host.native(tokens).logits, before)
    assert host.merge_attached is None
    assert not host.native._forward_hooks
    assert not host.native._forward_pre_hooks


def test_hooks_are_gone_after_an_exception(models):
    ensemble, tokens = lm.LogitEnsemble(models[:2]), random_tokens(1, 6)
    before = ensemble.host.native(tokens).logits
    with pytest.raises(ValueError, match="labels"), ensemble.hooks():
        ensemble.host.native(tokens, labels=tokens)
    with pytest.raises(ValueError, match="input_ids"), ensemble.hooks():
        ensemble.host.native(inputs_embeds=torch.zeros(1, 2, 32))
    assert ensemble.host.merge_attached is None
    assert torch.equal(ensemble.host.native(tokens).logits, before)


def test_a_model_may_speak_twice_and_in_two_ensembles(models):
    tokens = random_tokens(1, 6)
    twice = lm.LogitEnsemble([models[0], models[0], models[1]])
    once = lm.LogitEnsemble(models[:2], weights=[2.0, 1.0])
    assert_close(twice(tokens), once(tokens), **TOLERANCE)
    with lm.LogitEnsemble([models[1], models[0]]).hooks():  # hooks on the donor do not act here
        assert_close(once(tokens), twice(tokens), **TOLERANCE)


def test_gradients_flow_into_every_model(models):
    for model in models[:2]:
        model.native.zero_grad()
    lm.LogitEnsemble(models[:2])(random_tokens(1, 6)).log_softmax(-1)[..., 3].sum().backward()
    for model in models[:2]:
        assert model.native.model.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0


def test_half_precision_models_give_float32_logits(models):
    half = random_lm("qwen2", 1)
    half.to(torch.bfloat16)
    logits = lm.LogitEnsemble([half, models[0]])(random_tokens(1, 6))
    reference = lm.LogitEnsemble([models[1], models[0]])(random_tokens(1, 6))
    assert logits.dtype == torch.float32
    assert_close(logits.softmax(-1), reference.softmax(-1), atol=0.03, rtol=0.1)


def test_a_model_that_gives_no_numbers_is_named(models):
    broken = random_model("qwen2", 4)
    broken.lm_head.weight.data[5] = torch.nan
    bad = lm.wrap(broken)
    bad.name = "broken"
    ensemble = lm.LogitEnsemble([models[0], bad])
    for do_sample in (True, False):
        with pytest.raises(lm.NonFiniteMerge, match="logits of 'broken' are not a number"):
            ensemble.generate(random_tokens(1, 5), max_new_tokens=3, do_sample=do_sample)
    with pytest.raises(lm.NonFiniteMerge, match="'broken'"):
        ensemble(random_tokens(1, 5))
    ensemble.weights = [1.0, 0.0]  # it has no say: no harm
    assert torch.isfinite(ensemble(random_tokens(1, 5))).all()


def test_an_interrupt_goes_on_past_logits_that_are_no_numbers(models):
    broken = random_model("qwen2", 4)
    broken.lm_head.weight.data[5] = torch.nan
    ensemble = lm.LogitEnsemble([models[0], lm.wrap(broken)])
    with pytest.raises(KeyboardInterrupt), ensemble.hooks():  # noqa: PT012
        models[0].native(random_tokens(1, 3))
        raise KeyboardInterrupt
    ensemble.weights = [1.0, 0.0]  # and nothing is left of it
    assert torch.isfinite(ensemble(random_tokens(1, 5))).all()


def test_hooks_serve_passes_in_inference_mode_and_outside_it(models):
    ensemble, tokens = lm.LogitEnsemble(models[:2], [0.59375, 0.40625]), random_tokens(1, 3)
    with ensemble.hooks():
        with torch.inference_mode():
            models[0].native(tokens)
        models[0].native(tokens).logits.sum().backward()
    assert models[1].native.get_input_embeddings().weight.grad.abs().sum() > 0
    for model in models[:2]:
        model.native.zero_grad()


def test_rounded_weights_give_a_recipe_that_loads(models):
    ensemble = lm.LogitEnsemble([models[0]] * 4, [0.0, 0.1, 0.4, 0.1])
    assert ensemble.alpha == 1.0
    again = lm.Recipe.load(ensemble.recipe.model_dump())
    weights = weights_from_alpha(again.alpha, again.donor_weights, 3)
    assert weights == pytest.approx(ensemble.weights)


def test_constraints_find_a_next_best_where_all_votes_are_forbidden(models):
    ensemble, tokens = lm.LogitEnsemble(models[:2], method="majority"), random_tokens(1, 6)
    voted = {int(model.native(tokens).logits[0, -1].argmax()) for model in models[:2]}
    mean = torch.stack([model.native(tokens).logits[0, -1].softmax(-1) for model in models[:2]])
    mean = mean.mean(0)
    mean[list(voted)] = 0.0
    got = ensemble.generate(
        tokens, max_new_tokens=1, do_sample=False, suppress_tokens=sorted(voted)
    )
    assert got[0, -1] == mean.argmax()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"weights": [1.0]}, ValueError, "has 1 entries for 2 models"),
        ({"weights": [1.0, -0.5]}, ValueError, "must be finite, at least 0, and not all 0"),
        ({"weights": [0.0, 0.0]}, ValueError, "not all 0"),
        ({"weights": [1.0, float("nan")]}, ValueError, "must be finite"),
        ({"weights": [1.0, 2.0], "method": "majority"}, ValueError, "take 'weighted_majority'"),
        ({"method": "vote"}, ValueError, "unknown method 'vote'; choose from soft"),
        ({"accept": ["tokens"]}, ValueError, "accept=.'tokens'. is unknown"),
    ],
)
def test_bad_arguments_are_refused(models, arguments, error, message):
    with pytest.raises(error, match=message):
        lm.LogitEnsemble(models[:2], **arguments)


def test_one_model_is_no_ensemble(models):
    with pytest.raises(ValueError, match="at least two"):
        lm.LogitEnsemble(models[:1])


def test_a_cache_filled_elsewhere_is_refused(models):
    ensemble, tokens = lm.LogitEnsemble(models[:2]), random_tokens(1, 5)
    cache = ensemble.host.native(tokens, use_cache=True).past_key_values
    with ensemble.hooks(), pytest.raises(ValueError, match="filled without the merge"):
        ensemble.host.native(tokens[:, :1], past_key_values=cache)
    with ensemble.hooks(), pytest.raises(ValueError, match="needs position_ids next to it"):
        ensemble.host.native(tokens, attention_mask=torch.ones(1, 1, 5, 5).bool())


def test_text_of_the_bundled_pair(tiny_instruct, tiny_thinker):
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error"
        )  # the bundled pair differs in nothing that decides how it speaks
        ensemble = lm.LogitEnsemble([tiny_instruct, tiny_thinker], weights=[1.0, 0.0])
    prompts = ["What is the capital of Norway?", "12+34 = ?"]
    common = {"chat": True, "max_new_tokens": 24}
    assert ensemble.generate(prompts, **common) == tiny_instruct.generate(prompts, **common)
    assert ensemble.generate(prompts[0], **common) == "Oslo"
    ensemble.weights = [0.0, 1.0]
    assert ensemble.generate(prompts, **common) == tiny_thinker.generate(prompts, **common)
