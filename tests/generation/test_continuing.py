"""Lengths, padding tokens, stop strings, templates and seeds of `generate`."""

import pytest
import torch
from families import random_lm, random_model, random_tokens
from transformers import GenerationConfig

import lm_merge as lm
from lm_merge.generation import check_length, prepare, seeded


def test_learned_positions_are_counted_before_generation():
    host, tokens = random_lm("gpt2", 0), random_tokens(1, 60)
    message = "prompt has 60 tokens, 6 new ones are asked for, .* 64 positions; .* at most 5"
    with pytest.raises(ValueError, match=message):
        host.generate(tokens, max_new_tokens=6)
    with pytest.raises(ValueError, match="66|6 new ones"):
        host.generate(tokens, max_length=66)
    longest = host.generate(tokens, max_new_tokens=5, eos_token_id=None, do_sample=False)
    assert longest.shape == (1, 65)
    padded = torch.cat([torch.zeros(1, 3).long(), tokens[:, :57]], dim=1)  # 57 real tokens
    mask = (padded != 0).long()
    assert host.generate(padded, attention_mask=mask, max_new_tokens=6, eos_token_id=None).any()


def test_a_donors_positions_count_as_the_hosts_do():
    host, donor = random_lm("gpt2", 0), random_lm("gpt2", 1, n_positions=32)
    for merge in (
        lm.LogitEnsemble([host, donor]),
        lm.LatentMerge(host, donor, layers=[1], alpha=0.5),
    ):
        with pytest.raises(ValueError, match="learned 32 positions"):
            merge.generate(random_tokens(1, 30), max_new_tokens=8)


def test_rotary_positions_go_on_beyond_the_context():
    model, prompts = random_model("qwen2", 0), prepare(None, random_tokens(1, 60), "model")
    check_length(model, prompts, 10, {})


def test_a_padding_token_below_zero_counts_as_absent():
    host = random_lm("qwen2", 0)
    assert host.native is not None
    host.native.generation_config.pad_token_id = -1
    tokens = random_tokens(2, 5)
    first = int(
        host.generate(tokens[:1], max_new_tokens=1, do_sample=False, eos_token_id=None)[0, -1]
    )
    ends = host.generate(tokens, max_new_tokens=4, do_sample=False, eos_token_id=[first, 2])
    assert int(ends.min()) >= 0
    assert ends[0, 6:].tolist() == [2] * (ends.shape[1] - 6)


def test_stop_strings_of_generation_settings_find_the_tokenizer(tiny_instruct, tiny_thinker):
    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, layers=[3], alpha=0.0)
    common = {"chat": True, "max_new_tokens": 8}
    prompt = "What is the capital of Norway?"
    settings = GenerationConfig.from_model_config(tiny_instruct.native.config)
    settings.stop_strings = ["Os"]
    assert merge.generate(prompt, generation_config=settings, **common) == "Os"
    tokenizer = tiny_instruct.tokenizer
    assert merge.generate(prompt, tokenizer=tokenizer, stop_strings=["Os"], **common) == "Os"
    assert tiny_instruct.generate(prompt, tokenizer=tokenizer, **common) == "Oslo"


def test_templates_that_lack_or_fail_name_the_option():
    model = lm.load("tiny-instruct")
    model.tokenizer.chat_template = None
    with pytest.raises(ValueError, match="'tiny-instruct' has no chat template.*--chat false"):
        model.generate("hi", chat=True)
    model.tokenizer.chat_template = "{{ raise_exception('system only') }}"
    with pytest.raises(ValueError, match="'tiny-instruct' fails: system only.*--chat false"):
        model.generate("hi", chat=True)


def test_a_seed_touches_the_generators_of_its_devices_only(monkeypatch):
    def forbidden(*_: object) -> None:
        raise AssertionError("a generator of another device was touched")

    monkeypatch.setattr(torch.cuda, "get_rng_state", forbidden)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", forbidden)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    state = torch.random.get_rng_state()
    draws = []
    for seed in (1, 1, 2):
        with seeded(seed, {torch.device("cpu")}):
            draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.random.get_rng_state(), state)
