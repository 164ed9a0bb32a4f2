"""Replies, their counts and why they ended, against the composition's own generate."""

import pytest

import lm_merge as lm
from lm_merge.evaluation.engines.replying import Prompt, Reply, Sampling, reply

QUESTIONS = ["What is the capital of Norway?", "47+38 = ?", "What is the chemical symbol of gold?"]
GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module")
def merge() -> lm.LatentMerge:
    return lm.LatentMerge(
        lm.load("tiny-instruct"), lm.load("tiny-thinker"), layers=[3], alpha=0.25, positions="last"
    )


def ids_of(merge: lm.LatentMerge, question: str) -> tuple[int, ...]:
    return tuple(merge.host.to_tokens(question, chat=True).input_ids[0].tolist())


def test_a_batch_of_unequal_prompts_gives_what_each_gives_alone(merge):
    prompts = [Prompt(ids_of(merge, question), 40) for question in QUESTIONS]
    together = reply(merge, prompts, GREEDY)
    assert together == [reply(merge, [prompt], GREEDY)[0] for prompt in prompts]
    expected = merge.generate(QUESTIONS, chat=True, max_new_tokens=40, do_sample=False)
    assert [one.text for one in together] == expected
    assert {one.stop_reason for one in together} == {"stop"}
    tokenizer = merge.host.tokenizer  # the end-of-text token counts
    assert [one.n_new_tokens for one in together] == [
        len(tokenizer.encode(text, add_special_tokens=False)) + 1 for text in expected
    ]


def test_limits_are_each_prompt_s_own(merge):
    whole = reply(merge, [Prompt(ids_of(merge, QUESTIONS[0]), 40)], GREEDY)[0]
    short, long = reply(merge, [Prompt(ids_of(merge, QUESTIONS[0]), n) for n in (2, 40)], GREEDY)
    assert long == whole
    assert (short.n_new_tokens, short.stop_reason) == (2, "max_tokens")
    assert whole.text.startswith(short.text)


def test_the_context_ends_a_reply(merge):
    ids = ids_of(merge, QUESTIONS[0])
    nearly_full = (ids * 512)[-510:]  # room for two of the five tokens of "Oslo"
    last, none = reply(merge, [Prompt(nearly_full, 40), Prompt((ids * 512)[-512:], 40)], GREEDY)
    assert (last.stop_reason, last.n_new_tokens) == ("model_length", 2)
    assert none == Reply("", 0, "model_length")


def test_a_stop_text_ends_a_reply_and_is_cut_off(merge):
    prompt = Prompt(ids_of(merge, QUESTIONS[0]), 40)
    whole = reply(merge, [prompt], GREEDY)[0]
    middle = whole.text[len(whole.text) // 2 :][:2]
    other = Prompt(ids_of(merge, QUESTIONS[2]), 40)
    stopped = reply(merge, [prompt, other], Sampling(temperature=0.0, stop=(middle,)))[0]
    assert stopped.text == whole.text[: whole.text.index(middle)]
    assert stopped.stop_reason == "stop"
    assert stopped.n_new_tokens < whole.n_new_tokens


def test_sampling_follows_its_seed(merge):
    prompt = [Prompt(ids_of(merge, QUESTIONS[1]), 20)]
    hot = [reply(merge, prompt, Sampling(temperature=3.0, seed=seed))[0].text for seed in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]
