"""Prompts for a model that runs here: its chat template, its control tokens, padding, room."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from lm_merge.generation import EncodedPrompts
from lm_merge.models import HookedLM

Turn = dict[str, str]  # role and content
# what a template may raise: Jinja's own errors, and those of the Python expressions in it
TEMPLATE_ERRORS = (
    TemplateError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
)


def conversation_text(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn]) -> str:
    """A conversation in the chat template, up to where the answer begins.

    Where the template knows no system turn, the system's words open the user's first turn. Raises
    ValueError for a tokenizer without a template, and for a template that fails or gives no text.
    """
    with template_errors(tokenizer, "put a chat template that works into the model's folder"):
        text = _with_system(tokenizer, turns)
    if not text:
        raise ValueError(f"the chat template of {tokenizer.name_or_path!r} gives no text")
    return text


@contextmanager
def template_errors(tokenizer: PreTrainedTokenizerBase, remedy: str) -> Iterator[None]:
    """A chat template that is missing or fails is reported in one sentence with the remedy."""
    if not tokenizer.chat_template:
        raise ValueError(f"{tokenizer.name_or_path!r} has no chat template; {remedy}")
    try:
        yield
    except TEMPLATE_ERRORS as error:
        raise ValueError(
            f"the chat template of {tokenizer.name_or_path!r} fails ({error}); {remedy}"
        ) from error


def _with_system(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn]) -> str:
    try:
        return _in_template(tokenizer, turns)
    except TemplateError:
        n_system = next((n for n, turn in enumerate(turns) if turn["role"] != "system"), len(turns))
        opening, rest = turns[: n_system + 1], turns[n_system + 1 :]
        if n_system == 0 or opening[-1]["role"] != "user":
            raise
        words = "\n\n".join(turn["content"] for turn in opening)
        return _in_template(tokenizer, [{"role": "user", "content": words}, *rest])


def conversation_ids(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn]) -> list[int]:
    """Token ids of `conversation_text`."""
    text = conversation_text(tokenizer, turns)
    encoded: Any = tokenizer(text, add_special_tokens=False)
    return list(encoded["input_ids"])


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Texts that the tokenizer reads as one token with a meaning of its own."""
    added = tokenizer.added_tokens_decoder.values()
    return tuple(token.content for token in added if token.special and len(token.content) > 1)


def padded(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]], form: Any
) -> EncodedPrompts:
    """Rows of token ids as one batch, padded on the left. form: as in `EncodedPrompts`."""
    longest = max(map(len, rows))
    blank: Any = tokenizer.pad_token_id or 0  # masked out: any id will do
    ids = torch.tensor([[blank] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return EncodedPrompts(ids, mask, form)


def context_length(host: HookedLM) -> int | None:
    """The most tokens that the host's positions allow; None where the configuration has no limit."""
    if host.native is None:
        return host.cfg.n_ctx
    return getattr(host.native.config.get_text_config(), "max_position_embeddings", None)


def _in_template(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn]) -> str:
    rendered = tokenizer.apply_chat_template(
        list(turns), tokenize=False, add_generation_prompt=True
    )
    return str(rendered)
