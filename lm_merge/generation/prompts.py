"""Prompts as one batch of token ids: from text, from ids, or from what a tokenizer gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedTokenizerBase

from lm_merge.generation.padding import padded_left


@dataclass(frozen=True)
class EncodedPrompts:
    """Token ids padded on the left, which of them are real, and the form in which they came.

    attention_mask: None for ids that came without one; transformers then looks for padding tokens.
    """

    input_ids: Int[Tensor, "batch pos"]
    attention_mask: Int[Tensor, "batch pos"] | None
    form: Literal["text", "texts", "ids"]

    @property
    def n_tokens(self) -> int:
        """Tokens of the longest prompt, padding left out."""
        if self.attention_mask is None:
            return self.input_ids.shape[1]
        return int(self.attention_mask.sum(dim=1).max())


# a mapping is what a tokenizer gave; that its values are tensors is checked with a sentence
Prompts = str | Sequence[str] | Tensor | Mapping[str, Any] | EncodedPrompts


def require_tokenizer(
    tokenizer: PreTrainedTokenizerBase | None, name: str
) -> PreTrainedTokenizerBase:
    """The tokenizer, or a ValueError with what a model without one can take."""
    if tokenizer is None:
        raise ValueError(
            f"model {name!r} came without tokenizer files, so it takes token ids only; "
            "pass a LongTensor, or put the tokenizer's files into its folder"
        )
    return tokenizer


def chat_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], name: str = "the model"
) -> list[str]:
    """Each prompt as a user's turn in the model's chat template, up to where the answer begins.

    `name` is the model's, for errors. Raises ValueError without a template, and for one that fails.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            f"{name} has no chat template; give the prompts as plain text with chat=False "
            "(on the command line: --chat false)"
        )
    from jinja2 import TemplateError

    try:
        return [
            str(
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": prompt}],
                    tokenize=False,
                    add_generation_prompt=True,
                )
            )
            for prompt in prompts
        ]
    except TemplateError as error:
        raise ValueError(
            f"the chat template of {name} fails: {error}; correct it, or give chat=False (on the "
            "command line: --chat false)"
        ) from error


def prepare(
    tokenizer: PreTrainedTokenizerBase | None,
    prompts: Prompts,
    name: str,
    chat: bool = False,
    attention_mask: Tensor | None = None,
) -> EncodedPrompts:
    """Prompts as one batch of token ids, padded on the left; `chat` applies the chat template first.

    prompts: text, texts, token ids (with their `attention_mask`), or what a tokenizer gave, a mapping
    with input_ids. Padding on the right, which the mask shows, is moved to the left. `name` is the
    model's, for errors. Raises ValueError for an empty prompt, for `chat` with ids and for an
    attention_mask with anything but ids; TypeError for a mixture of kinds.
    """
    _check_options(prompts, chat, attention_mask)
    if isinstance(prompts, EncodedPrompts):
        return _on_the_left(prompts)
    if isinstance(prompts, Mapping):
        return _checked_ids(prompts["input_ids"], prompts.get("attention_mask"))
    if isinstance(prompts, Tensor):
        return _checked_ids(prompts, attention_mask)
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise TypeError("prompts must be a str, a non-empty list of str, or a LongTensor of ids")
    tokenizer = require_tokenizer(tokenizer, name)
    for index, text in enumerate(texts):
        if not text:
            raise ValueError(f"prompts[{index}] is empty; a prompt needs at least one token")
    texts = chat_prompts(tokenizer, texts, f"model {name!r}") if chat else texts
    encoded: Any = tokenizer(texts, add_special_tokens=not chat)
    rows = [torch.tensor(row) for row in encoded["input_ids"]]
    longest = max(map(len, rows))
    padding: Any = tokenizer.pad_token_id or 0  # masked out: any id will do
    ids = torch.stack([pad(row, (longest - len(row), 0), value=padding) for row in rows])
    mask = torch.stack([pad(torch.ones_like(row), (longest - len(row), 0)) for row in rows])
    return EncodedPrompts(ids, mask, "text" if isinstance(prompts, str) else "texts")


def _check_options(prompts: Prompts, chat: bool, attention_mask: Tensor | None) -> None:
    if chat and isinstance(prompts, Tensor | Mapping | EncodedPrompts):
        raise ValueError(
            "chat=True takes text, not token ids: apply the chat template before encoding"
        )
    if attention_mask is not None and not isinstance(prompts, Tensor):
        raise ValueError(
            "attention_mask belongs to token ids [batch, pos]; text and what a tokenizer gave bring "
            "their own, so leave it out"
        )


def _checked_ids(ids: Any, mask: Any) -> EncodedPrompts:
    for name, given in (("input_ids", ids), ("attention_mask", mask)):
        if given is not None and not isinstance(given, Tensor):
            raise ValueError(
                f"{name} is a {type(given).__name__}, not a tensor; call the tokenizer with "
                "return_tensors='pt'"
            )
    if ids.ndim != 2 or ids.is_floating_point() or ids.shape[1] == 0:
        raise ValueError(
            f"token prompts have shape {tuple(ids.shape)} and dtype {ids.dtype}; "
            "give integers [batch, pos] with at least one position"
        )
    if mask is not None and mask.shape != ids.shape:
        raise ValueError(
            f"attention_mask has shape {tuple(mask.shape)}, input_ids {tuple(ids.shape)}; give one "
            "entry a token"
        )
    return _on_the_left(EncodedPrompts(ids, mask, "ids"))


def _on_the_left(prompts: EncodedPrompts) -> EncodedPrompts:
    if prompts.attention_mask is None:
        return prompts
    ids, mask = padded_left(prompts.input_ids, prompts.attention_mask.to(prompts.input_ids.device))
    return replace(prompts, input_ids=ids, attention_mask=mask)
