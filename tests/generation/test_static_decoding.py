"""Static caches: the same tokens as on the dynamic path, also from a recording that freezes Python."""

import logging

import pytest
import torch
from families import CONFIGS, random_lm, random_tokens
from given_tokens import logits_along
from recorded_steps import recorded
from transformers import TextStreamer

import lm_merge as lm
from lm_merge.evaluation import question_set
from lm_merge.generation.static.waiting import NoWaiting

GREEDY = {"max_new_tokens": 7, "do_sample": False, "eos_token_id": None}
BF16_FRAC = 0.02  # of the largest logit: bfloat16 has 8 bits


def merge_of(family: str = "qwen2", **arguments) -> lm.LatentMerge:
    defaults = {"operator": "slerp", "layers": [1, 2], "alpha": 0.5}
    merge = lm.LatentMerge(random_lm(family, 0), random_lm(family, 1), **{**defaults, **arguments})
    merge.decoding._record = recorded
    return merge


def ensemble_of(*weights: float, method: str = "soft") -> lm.LogitEnsemble:
    models = [random_lm("qwen2", seed) for seed in (0, 1)]
    ensemble = lm.LogitEnsemble(models, None if method == "majority" else weights, method)
    ensemble.decoding._record = recorded
    return ensemble


def padded_prompts() -> dict[str, torch.Tensor]:
    """Two rows, of which the second has four columns of padding on the left."""
    ids, mask = random_tokens(2, 9), torch.ones(2, 9, dtype=torch.long)
    ids[1, :4], mask[1, :4] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def both_paths(composed, prompts, **arguments) -> torch.Tensor:
    """The tokens of the dynamic path, after a check that the static one gives them too."""
    expected = composed.generate(prompts, static=False, **arguments)
    got = composed.generate(prompts, static=True, **arguments)
    assert composed.decoding.last.static, composed.decoding.last
    assert torch.equal(got, expected)
    return expected


@pytest.fixture(scope="module")
def merge() -> lm.LatentMerge:
    return merge_of()


@pytest.mark.parametrize(
    "family",
    ["gemma2", *(pytest.param(one, marks=pytest.mark.slow) for one in CONFIGS if one != "gemma2")],
)
def test_each_family_gives_the_tokens_of_the_dynamic_path(family):
    merge = merge_of(family)
    tokens = both_paths(merge, padded_prompts(), **GREEDY)
    assert not torch.equal(tokens, merge.host.generate(padded_prompts(), **GREEDY))
    both_paths(merge.host, padded_prompts(), **GREEDY)


@pytest.mark.parametrize(
    "operator",
    [
        name if name == "slerp" else pytest.param(name, marks=pytest.mark.slow)
        for name in lm.OPERATORS
    ],
)
def test_logits_in_bfloat16_are_near_those_of_the_dynamic_path_and_of_float32(operator):
    tokens, logits = random_tokens(1, 4, seed=5)[0], []
    for dtype in (torch.bfloat16, torch.float32):
        host, donor, base = (random_lm("qwen2", seed).to(dtype=dtype) for seed in range(3))
        merge = lm.LatentMerge(
            host,
            donor,
            base=base if operator == "task_vector" else None,
            operator=operator,
            layers=[1, 2],
            alpha=0.5,
        )
        for static in (False, True):
            logits.append(logits_along(merge, padded_prompts(), tokens, static=static))
            assert merge.decoding.last.static is static
    dynamic, static, *wide = logits
    near = {"rtol": 0, "atol": BF16_FRAC * float(wide[0].abs().max())}
    torch.testing.assert_close(wide[1], wide[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(static, dynamic, **near)
    torch.testing.assert_close(static, wide[0], **near)
    assert not torch.equal(static, wide[0])


@pytest.mark.parametrize(
    "alphas",
    [
        {0: 0.0, 1: lm.AgreementGate(max_alpha=0.9), 2: lm.ScheduleGate([0.9, 0.0, 0.6, 0.9])},
        pytest.param({1: 0.3, 2: 1.2}, marks=pytest.mark.slow),
    ],
)
def test_numbers_and_gates_can_be_recorded(alphas):
    merge = merge_of(layers=alphas, alpha=None, positions="last")
    both_paths(merge, random_tokens(1, 7), **GREEDY)
    both_paths(merge, random_tokens(1, 11, seed=1), **GREEDY)  # the same recording
    assert len(merge.decoding._steps) == 1


@pytest.mark.parametrize("stream", [pytest.param("pure", marks=pytest.mark.slow), "coupled"])
def test_task_vectors_and_several_donors_can_be_recorded(stream):
    models = [random_lm("qwen2", seed) for seed in range(4)]
    merge = lm.LatentMerge(
        models[0],
        models[1:3],
        base=models[3],
        operator="task_vector",
        layers=[1, 2],
        alpha=0.7,
        donor_weights={1: [1.0, 0.0], 2: [0.4, 0.6]},
        donor_stream=stream,
    )
    merge.decoding._record = recorded
    both_paths(merge, padded_prompts(), **GREEDY)


@pytest.mark.parametrize(
    "method", ["soft", *(pytest.param(one, marks=pytest.mark.slow) for one in ("mean", "majority"))]
)
def test_ensembles_can_be_recorded(method):
    ensemble = ensemble_of(0.6, 0.4, method=method)
    before = both_paths(ensemble, padded_prompts(), **GREEDY)
    if method == "majority":  # which takes no weights
        return
    for weights in ((0.0, 1.0), (0.6, 0.4)):  # another number of models in between
        ensemble.weights = weights
        after = both_paths(ensemble, padded_prompts(), **GREEDY)
    assert torch.equal(before, after)


def test_samples_and_the_generator_behind_them_are_those_of_the_dynamic_path(merge):
    sampled = {"max_new_tokens": 20, "do_sample": True, "eos_token_id": list(range(3, 20))}
    lengths = set()
    for seed in range(2):  # rows end by themselves, between two looks
        left = []
        for static in (False, True):
            torch.manual_seed(seed)
            tokens = merge.generate(padded_prompts(), static=static, **sampled)
            left.append((tokens, torch.random.get_rng_state()))
        assert torch.equal(left[0][0], left[1][0])
        assert torch.equal(left[0][1], left[1][1])
        lengths.add(left[0][0].shape[1])
    assert min(lengths) < 29


def test_alpha_is_live_between_two_steps(merge):
    class Turn(TextStreamer):
        """Changes alpha when the third token has come."""

        def __init__(self, alpha):
            self.alpha, self.n = alpha, 0

        def put(self, value):
            self.n += 1
            if self.n == 4:
                merge.alpha = self.alpha

        def end(self):
            merge.alpha = 0.5

    tokens = random_tokens(1, 7)
    plain = merge.generate(tokens, static=False, **GREEDY)
    for alpha in (1.0, lm.AgreementGate(max_alpha=0.9)):  # a gate is not in the recording
        expected = merge.generate(tokens, static=False, streamer=Turn(alpha), **GREEDY)
        got = merge.generate(tokens, static=True, streamer=Turn(alpha), **GREEDY)
        assert torch.equal(got, expected)
        assert torch.equal(got[:, :10], plain[:, :10])
        assert not torch.equal(got, plain)


def test_weights_moved_or_edited_are_seen(merge):
    tokens = random_tokens(1, 7)
    before = both_paths(merge, tokens, **GREEDY)
    weight = merge.host.native_blocks()[3].mlp.down_proj.weight
    kept = weight.data
    weight.data = -3 * kept  # other memory
    try:
        assert not torch.equal(both_paths(merge, tokens, **GREEDY), before)
        weight.data.copy_(kept)  # the same memory
        assert torch.equal(both_paths(merge, tokens, **GREEDY), before)
    finally:
        weight.data = kept


def test_the_step_waits_for_nothing_and_keeps_its_addresses(merge):
    merge.generate(random_tokens(1, 7), static=True, **GREEDY)
    (step, *_) = merge.decoding._steps.values()
    caches = (step.cache, *step.cache.donor_caches)
    numbers = merge.decoding.system._numbers.values()
    held = [step.ids, step.position, step.mask, step.column, *step.cache.not_finite.values()]
    held += [tensor for number in numbers for tensor in (number.weights, number.is_zero)]
    held += [*merge.host.native.parameters(), *merge.donors[0].native.parameters()]
    held += [
        tensor
        for cache in caches
        for layer in cache.layers
        for tensor in (layer.keys, layer.values, layer.cumulative_length)
    ]
    addresses = [tensor.data_ptr() for tensor in held]
    with torch.no_grad(), NoWaiting() as watch:
        step._step()
    assert watch.n_operations > 100
    merge.alpha = 0.9
    merge.generate(random_tokens(1, 9, seed=1), static=True, **GREEDY)
    merge.alpha = 0.5
    assert [*merge.decoding._steps.values()] == [step]
    assert addresses == [tensor.data_ptr() for tensor in held]


def test_what_waits_for_the_device_is_found_before_it_is_recorded(monkeypatch):
    def curious(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return states[0] if float(weights[1]) < 0.5 else states[1]

    monkeypatch.setitem(lm.OPERATORS, "curious", curious)
    merge = merge_of(operator="curious")
    with pytest.raises(ValueError, match="static=True: .*_local_scalar_dense.* waits"):
        merge.generate(random_tokens(1, 5), static=True, **GREEDY)


OBSTACLES = {
    "beam search": {"num_beams": 2},
    "prompt lookup|assisted": {"prompt_lookup_num_tokens": 2},
    "return_dict_in_generate": {"return_dict_in_generate": True},
    "use_cache=False": {"use_cache": False},
    "prefill_chunk_size": {"prefill_chunk_size": 4},
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_other_ways_of_decoding_take_the_dynamic_path_and_say_why(merge, reason, caplog):
    given = {**GREEDY, **OBSTACLES[reason]}
    with pytest.raises(ValueError, match=f"static=True: .*({reason})"):
        merge.generate(random_tokens(1, 7), static=True, **given)
    with caplog.at_level(
        logging.WARNING
    ):  # as on a GPU, where it is chosen without being asked for
        merge.generate(random_tokens(1, 7), compile="default", **given)
    assert not merge.decoding.last.static
    assert merge.decoding.last.reason in caplog.text


def test_what_python_would_do_at_every_step_takes_the_dynamic_path(merge):
    tokens = random_tokens(1, 7)
    with merge.recording(), pytest.raises(ValueError, match="alphas are being recorded"):
        merge.generate(tokens, static=True, **GREEDY)
    handle = merge.host.native_blocks()[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"layers\.0' of .* has a forward hook"):
        merge.generate(tokens, static=True, **GREEDY)
    with pytest.raises(ValueError, match="has a forward hook"):
        merge.host.generate(tokens, static=True, **GREEDY)
    handle.remove()
    gated = merge_of(alpha=lambda host, donor: host[..., :1] * 0 + 0.5)
    with pytest.raises(ValueError, match="may read more than tensors"):
        gated.generate(tokens, static=True, **GREEDY)


def test_states_that_are_not_finite_are_reported_where_they_are(merge):
    donor = merge.donors[0].native_blocks()[0].mlp.down_proj.weight
    kept = donor.detach().clone()

    class Break(TextStreamer):
        def __init__(self):
            self.n = 0

        def put(self, value):
            self.n += 1
            if self.n == 4:  # the prompt and three new tokens
                donor.data.fill_(torch.inf)

        def end(self): ...

    found = []
    for static in (False, True):
        with pytest.raises(lm.NonFiniteMerge) as raised:
            merge.generate(random_tokens(1, 7), static=static, streamer=Break(), **GREEDY)
        donor.data.copy_(kept)
        found.append(str(raised.value))
    assert "layer=1, row 0, position 9" in found[0]
    assert found[0] == found[1]


def test_stop_strings_and_texts(tiny_instruct, tiny_thinker):
    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, layers=[3], alpha=0.25)
    prompts = ["What is the capital of Norway?", "12+34 = ?"]
    for arguments in ({}, {"stop_strings": ["Os"]}):
        texts = [
            merge.generate(prompts, chat=True, max_new_tokens=8, static=static, **arguments)
            for static in (False, True)
        ]
        assert texts[0] == texts[1]
        assert merge.decoding.last.static


@pytest.mark.slow
def test_compiled_once_over_prompts_alphas_and_positions(merge):
    torch._dynamo.reset()
    counts = torch._dynamo.utils.counters
    counts.clear()
    compiled = merge_of()
    compiled.decoding._record, compiled.decoding._backend = None, "eager"
    with torch._dynamo.config.patch(error_on_recompile=True):
        for n_tokens, alpha in ((7, 0.5), (9, 0.0), (5, 1.0)):
            merge.alpha = compiled.alpha = alpha
            tokens = random_tokens(1, n_tokens)
            got = compiled.generate(tokens, compile="default", **GREEDY)
            assert compiled.decoding.last.step == "compiled"
            assert torch.equal(got, merge.generate(tokens, **GREEDY))
    merge.alpha = 0.5
    assert counts["stats"]["unique_graphs"] == 1
    assert not counts["graph_break"]


def test_a_recording_that_computes_something_else_is_refused(merge):
    def wrong(step, device):
        step()
        logits = step.__self__._logits
        return lambda: logits.add_(1.0)

    broken = merge_of()
    broken.decoding._record = wrong
    tokens = random_tokens(1, 7)
    with pytest.raises(ValueError, match="differ from the step's own"):
        broken.generate(tokens, static=True, **GREEDY)


def test_arguments_are_checked(merge):
    with pytest.raises(ValueError, match="static='yes' is unknown"):
        merge.generate(random_tokens(1, 5), static="yes")
    with pytest.raises(ValueError, match="compile='max' is unknown"):
        merge.generate(random_tokens(1, 5), compile="max")
    with pytest.raises(ValueError, match="needs static caches"):
        merge.generate(random_tokens(1, 5), compile="tuned", static=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["alone", "latents", "coupled", "logits"])
def test_the_bundled_questions_get_the_same_answers(kind):
    host, donor = lm.load("tiny-instruct"), lm.load("tiny-thinker")
    system = {
        "alone": lambda: host,
        "latents": lambda: lm.LatentMerge(host, donor, operator="slerp", layers=[3], alpha=0.5),
        "coupled": lambda: lm.LatentMerge(
            host, donor, layers=[3, 5], alpha=0.5, donor_stream="coupled"
        ),
        "logits": lambda: lm.LogitEnsemble([host, donor]),
    }[kind]()
    prompts = [question.prompt for question in question_set(50, seed=0)]
    assert len(prompts) == 200
    batches = [prompts[start : start + 25] for start in range(0, 200, 25)]  # padded on the left
    for settings in ({"do_sample": False}, {"do_sample": True, "seed": 3}):
        asked = {"chat": True, "max_new_tokens": 24, **settings}
        for some in (*batches, *prompts[::10]):
            expected = system.generate(some, static=False, **asked)
            assert system.generate(some, static=True, **asked) == expected
            assert system.decoding.last.static
