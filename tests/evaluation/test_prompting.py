"""Prompts as a host reads them: system turns, control tokens, padding, room."""

from types import SimpleNamespace

import pytest
import torch
from jinja2 import TemplateError

from lm_merge.evaluation.prompting import (
    context_length,
    control_tokens,
    conversation_ids,
    conversation_text,
    padded,
)
from lm_merge.models import HookedLM

NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}"
    "{% elif m['content'] == 'refused' %}{{ raise_exception('refused') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<next>{% endif %}"
)


@pytest.fixture
def tokenizer(tiny_instruct, monkeypatch):
    monkeypatch.setattr(tiny_instruct.tokenizer, "chat_template", NO_SYSTEM)
    return tiny_instruct.tokenizer


def turns(*said: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in said]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ([("user", "a"), ("assistant", "b"), ("user", "c")], "<user>a<assistant>b<user>c<next>"),
        ([("system", "s"), ("user", "a"), ("assistant", "b")], "<user>s\n\na<assistant>b<next>"),
        ([("system", "s"), ("system", "t"), ("user", "a")], "<user>s\n\nt\n\na<next>"),
    ],
)
def test_a_template_without_system_turn_gets_it_in_the_users(tokenizer, said, text):
    assert conversation_text(tokenizer, turns(*said)) == text
    assert tokenizer.decode(conversation_ids(tokenizer, turns(*said))) == text


@pytest.mark.parametrize(
    "said",
    [
        [("user", "refused")],
        [("user", "refused"), ("assistant", "b"), ("user", "c")],
        [("system", "s")],
        [("system", "s"), ("assistant", "a")],
    ],
)
def test_other_errors_of_a_template_keep_its_words(tokenizer, said):
    words = "refused" if "refused" in said[0] else "no system"
    with pytest.raises(
        ValueError, match=rf"chat template of .*tiny-instruct.* \({words}\)"
    ) as raised:
        conversation_text(tokenizer, turns(*said))
    assert isinstance(raised.value.__cause__, TemplateError)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (None, "has no chat template"),
        ("", "has no chat template"),
        ("{% for m in messages %}{{ m.content }", "fails"),
        ("{{ 1 + 'a' }}", "fails"),
        ("{{ 1 / 0 }}", "fails"),
        ("{% if false %}x{% endif %}", "gives no text"),
    ],
)
def test_templates_that_are_broken_or_missing_are_reported(tokenizer, template, sentence):
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=sentence):
        conversation_text(tokenizer, turns(("user", "a")))


def test_control_tokens_are_the_special_ones(tiny_instruct):
    assert {"<|im_start|>", "<|im_end|>"} <= set(control_tokens(tiny_instruct.tokenizer))


def test_rows_are_padded_on_the_left(tiny_instruct):
    batch = padded(tiny_instruct.tokenizer, [[5, 6, 7], [8]], "ids")
    blank = tiny_instruct.tokenizer.pad_token_id
    assert batch.input_ids.tolist() == [[5, 6, 7], [blank, blank, 8]]
    assert batch.attention_mask is not None
    assert torch.equal(batch.attention_mask, torch.tensor([[1, 1, 1], [0, 0, 1]]))


def test_the_context_is_known_of_both_kinds_of_host(tiny_instruct):
    assert context_length(tiny_instruct) == 512
    hooked = SimpleNamespace(
        cfg=SimpleNamespace(n_ctx=64), parameters=list
    )  # as a HookedTransformer has it
    assert context_length(HookedLM(hooked, None, None, "x")) == 64
