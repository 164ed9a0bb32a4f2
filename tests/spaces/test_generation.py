"""Text of a merge: the caches of all models stay together whatever `generate` does to them."""

import pytest
import torch
from families import FAMILIES, random_lm, random_tokens

import lm_merge as lm

N_NEW = 10
WAYS = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "prompt_lookup": {"prompt_lookup_num_tokens": 3},
    "chunked_prefill": {"prefill_chunk_size": 4},
}


def merge_of(family: str, **arguments) -> lm.LatentMerge:
    defaults = {"operator": "slerp", "layers": [1, 2], "alpha": 0.5}
    return lm.LatentMerge(random_lm(family, 0), random_lm(family, 1), **{**defaults, **arguments})


@pytest.fixture(scope="module")
def merge() -> lm.LatentMerge:
    return merge_of("qwen2")


def by_recomputation(merge: lm.LatentMerge, tokens: torch.Tensor, n_new: int) -> torch.Tensor:
    """Greedy tokens, the whole sequence merged anew for each; knows nothing of caches."""
    for _ in range(n_new):
        tokens = torch.cat([tokens, merge(tokens)[:, -1].argmax(-1, keepdim=True)], dim=1)
    return tokens


@pytest.mark.parametrize("stream", ["pure", "coupled"])
@pytest.mark.parametrize("family", FAMILIES)
def test_cached_decoding_is_recomputation(family, stream):
    merge, tokens = merge_of(family, donor_stream=stream), random_tokens(2, 9)
    got = merge.generate(tokens, max_new_tokens=N_NEW, do_sample=False, eos_token_id=None)
    assert torch.equal(got, by_recomputation(merge, tokens, N_NEW))


@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ["qwen2", pytest.param("mistral", marks=pytest.mark.slow)])
def test_every_way_of_decoding_equals_the_same_without_a_cache(family, way, positions):
    merge, tokens = merge_of(family, positions=positions), random_tokens(1, 9)
    common = {"max_new_tokens": N_NEW, "do_sample": False, "eos_token_id": None}
    uncached = {"num_beams": 3} if way == "beams" else {}
    expected = merge.generate(tokens, use_cache=False, **uncached, **common)
    assert torch.equal(merge.generate(tokens, **WAYS[way], **common), expected)


@pytest.mark.slow
def test_an_unmerged_assistant_changes_speed_and_not_text(merge):
    common = {"max_new_tokens": N_NEW, "do_sample": False, "eos_token_id": None}
    tokens = random_tokens(1, 9)
    expected = merge.generate(tokens, **common)
    host, donor = merge.host, merge.donors[0]
    for assistant in (host, host.native, donor, donor.native, random_lm("qwen2", 0).native):
        assert torch.equal(merge.generate(tokens, assistant_model=assistant, **common), expected)


def test_last_is_the_published_rule_under_cached_decoding():
    """Published: the newest position of each forward pass; here, by hand, on a growing cache."""
    merge, tokens = merge_of("qwen2", positions="last"), random_tokens(1, 7)
    got = merge.generate(tokens, max_new_tokens=N_NEW, do_sample=False, eos_token_id=None)
    sequence, host_cache = tokens, None
    with merge.hooks():
        for _ in range(N_NEW):
            new = sequence if host_cache is None else sequence[:, -1:]
            output = merge.host.native(new, past_key_values=host_cache, use_cache=True)
            host_cache = output.past_key_values
            sequence = torch.cat([sequence, output.logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(got, sequence)
    everywhere = merge_of("qwen2", positions="all")
    different = everywhere.generate(
        tokens, max_new_tokens=N_NEW, do_sample=False, eos_token_id=None
    )
    assert not torch.equal(got, different)  # the rule matters on this prompt


def test_both_views_generate_the_same(merge):
    tokens = random_tokens(1, 7)
    got = merge.generate(tokens, max_new_tokens=N_NEW, do_sample=False, eos_token_id=None)
    with merge.hooks():
        hooked = merge.host.hooked.generate(
            tokens, max_new_tokens=N_NEW, do_sample=False, stop_at_eos=False, verbose=False
        )
    assert torch.equal(got, hooked)


def test_a_cache_filled_elsewhere_is_refused(merge):
    tokens = random_tokens(1, 5)
    cache = merge.host.native(tokens, use_cache=True).past_key_values
    with merge.hooks():
        with pytest.raises(ValueError, match="filled without the merge"):
            merge.host.native(tokens[:, :1], past_key_values=cache)
        mine = merge.host.native(tokens, use_cache=True).past_key_values
    with merge_of("qwen2").hooks() as other, pytest.raises(ValueError, match="another merge"):
        other.host.native(tokens[:, :1], past_key_values=mine)
    with pytest.raises(TypeError, match="is a StaticCache; a merged model takes a DynamicCache"):
        merge.generate(tokens, max_new_tokens=2, cache_implementation="static")


def test_padded_batches_equal_single_runs(merge):
    long, short = random_tokens(1, 9, seed=1), random_tokens(1, 5, seed=2)
    padded = torch.cat([long, torch.cat([torch.zeros(1, 4).long(), short], dim=1)])
    mask = torch.ones_like(padded)
    mask[1, :4] = 0
    common = {"max_new_tokens": N_NEW, "do_sample": False, "eos_token_id": None}
    together = merge.generate(padded, attention_mask=mask, **common)
    assert torch.equal(together[:1], merge.generate(long, **common))
    assert torch.equal(together[1:, 4:], merge.generate(short, **common))


def test_a_seed_repeats_a_sample_and_leaves_torchs_generator_alone(merge):
    tokens = random_tokens(1, 6)
    common = {"max_new_tokens": N_NEW, "do_sample": True}
    state = torch.random.get_rng_state()
    one, same, other = (merge.generate(tokens, seed=seed, **common) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(one, same)
    assert one.shape != other.shape or not torch.equal(one, other)


def test_text_in_gives_new_text_out(tiny_instruct, tiny_thinker):
    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, layers=[3], alpha=0.25)
    prompt = "What is the capital of Norway?"
    one = merge.generate(prompt, chat=True, max_new_tokens=8)
    assert isinstance(one, str)
    assert prompt not in one
    many = merge.generate([prompt, "12+34 = ?"], chat=True, max_new_tokens=8)
    assert many[0] == one
    assert len(many) == 2
    plain = merge.generate(prompt, max_new_tokens=8)  # the chat template only when asked for
    assert plain != one


def test_stop_strings_and_streamers_are_hugging_faces(tiny_instruct, tiny_thinker, capsys):
    from transformers import TextStreamer

    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, layers=[3], alpha=0.0)
    prompt = "What is the capital of Norway?"
    assert merge.generate(prompt, chat=True, max_new_tokens=8) == "Oslo"
    assert merge.generate(prompt, chat=True, max_new_tokens=8, stop_strings=["Os"]) == "Os"
    streamer = TextStreamer(merge.host.tokenizer, skip_prompt=True, skip_special_tokens=True)
    merge.generate(prompt, chat=True, max_new_tokens=8, streamer=streamer)
    assert "Oslo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        ("", ValueError, r"prompts\[0\] is empty"),
        ([], TypeError, "non-empty list of str"),
        (torch.zeros(1, 0).long(), ValueError, "at least one position"),
        (torch.zeros(3).long(), ValueError, r"\(3,\).*give integers \[batch, pos\]"),
        (torch.zeros(1, 3), ValueError, "dtype torch.float32"),
    ],
)
def test_bad_prompts_are_refused(tiny_instruct, tiny_thinker, prompts, error, message):
    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, layers=[3], alpha=0.5)
    with pytest.raises(error, match=message):
        merge.generate(prompts, max_new_tokens=2)


def test_options_that_would_be_ignored_are_refused(tiny_instruct):
    with pytest.raises(ValueError, match="input_ids is a list.*return_tensors='pt'"):
        tiny_instruct.generate(tiny_instruct.tokenizer("hi"))
    ids = tiny_instruct.to_tokens("hi")
    given = {"input_ids": ids.input_ids, "attention_mask": ids.attention_mask}
    with pytest.raises(ValueError, match="attention_mask is a list"):
        tiny_instruct.generate({**given, "attention_mask": [1]})
    for prompts in (ids, given, ids.input_ids):
        with pytest.raises(ValueError, match="chat=True takes text, not token ids"):
            tiny_instruct.generate(prompts, chat=True)
    for prompts in ("hi", ["hi"], ids, given):
        with pytest.raises(ValueError, match="attention_mask belongs to token ids"):
            tiny_instruct.generate(prompts, attention_mask=ids.attention_mask)


@pytest.mark.parametrize("way", WAYS)
def test_generate_inside_hooks_knows_the_prompt(way):
    merge, tokens = merge_of("qwen2", positions="last"), random_tokens(1, 9)
    common = {"max_new_tokens": N_NEW, "do_sample": False, "eos_token_id": None, **WAYS[way]}
    expected = merge.generate(tokens, **common)
    native = merge.host.native
    with merge.hooks():
        assert torch.equal(native.generate(tokens, **common), expected)
        assert torch.equal(native.generate(input_ids=tokens, **common), expected)
    assert "generate" not in vars(native)


def test_what_a_tokenizer_gives_can_be_passed_on(tiny_instruct, tiny_thinker):
    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, layers=[3], alpha=0.25)
    prompts = ["What is the capital of Norway?", "12+34 = ?"]
    encoded = tiny_instruct.to_tokens(prompts, chat=True)
    expected = merge.generate(encoded.input_ids, attention_mask=encoded.attention_mask)
    given = {"input_ids": encoded.input_ids, "attention_mask": encoded.attention_mask}
    assert torch.equal(merge.generate(given), expected)
    assert merge.generate(encoded) == merge.generate(prompts, chat=True)
    # without a mask, padding is found as transformers finds it
    assert torch.equal(merge.generate(encoded.input_ids), expected)


def test_prompts_need_no_padding_token(tiny_instruct, tiny_thinker):
    merge = lm.LatentMerge(lm.load("tiny-instruct"), tiny_thinker, layers=[3], alpha=0.25)
    prompts = ["What is the capital of Norway?", "12+34 = ?"]
    expected = merge.generate(prompts, chat=True, max_new_tokens=8)
    merge.host.tokenizer.pad_token = None
    assert merge.generate(prompts, chat=True, max_new_tokens=8) == expected


@pytest.mark.slow
def test_a_batch_of_mixed_lengths_and_early_stops_says_what_single_runs_say(
    tiny_instruct, tiny_thinker
):
    merge = lm.LatentMerge(tiny_thinker, tiny_instruct, layers=[2, 5], alpha=0.3)
    prompts = [question.prompt for question in lm.evaluation.question_set(4)]
    common = {"chat": True, "max_new_tokens": 40}
    together = merge.generate(prompts, **common)
    assert len({len(text) for text in together}) > 4  # they do stop at different places
    assert together == [merge.generate(prompt, **common) for prompt in prompts]


def test_somebodys_own_generate_on_the_host_is_put_back():
    merge, tokens = merge_of("qwen2"), random_tokens(1, 5)
    native, calls = merge.host.native, []
    plain = native.generate

    def counted(*arguments, **keywords):
        calls.append(1)
        return plain(*arguments, **keywords)

    native.generate = counted
    merge.generate(tokens, max_new_tokens=2, do_sample=False)
    assert calls == [1]
    assert native.generate is counted
