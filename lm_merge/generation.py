"""Text from a model by Hugging Face's `generate`, the same for a model and for a merge."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class EncodedPrompts:
    """Token ids padded on the left, which of them are real, and the form in which they came.

    attention_mask: None for ids that came without one; transformers then looks for padding tokens.
    """

    input_ids: Int[Tensor, "batch pos"]
    attention_mask: Int[Tensor, "batch pos"] | None
    form: Literal["text", "texts", "ids"]


# a mapping is what a tokenizer gave; that its values are tensors is checked with a sentence
Prompts = str | Sequence[str] | Tensor | Mapping[str, Any] | EncodedPrompts


def require_tokenizer(
    tokenizer: PreTrainedTokenizerBase | None, name: str
) -> PreTrainedTokenizerBase:
    """The tokenizer, or a ValueError that says what a model without one can take."""
    if tokenizer is None:
        raise ValueError(
            f"model {name!r} came without tokenizer files, so it takes token ids only; "
            "pass a LongTensor, or put the tokenizer's files into its folder"
        )
    return tokenizer


def chat_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[str]:
    """Each prompt as a user's turn in the model's chat template, up to where the model speaks."""
    return [
        str(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
        )
        for prompt in prompts
    ]


def prepare(
    tokenizer: PreTrainedTokenizerBase | None,
    prompts: Prompts,
    name: str,
    chat: bool = False,
    attention_mask: Tensor | None = None,
) -> EncodedPrompts:
    """Prompts as one batch of token ids, padded on the left; `chat` applies the chat template first.

    prompts: text, texts, token ids (with their `attention_mask`), or what a tokenizer gave, a mapping
    with input_ids. `name` is the model's, for errors. Raises ValueError for an empty prompt, for
    `chat` with ids and for an attention_mask with anything but ids; TypeError for a mixture of kinds.
    """
    _check_options(prompts, chat, attention_mask)
    if isinstance(prompts, EncodedPrompts):
        return prompts
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
    texts = chat_prompts(tokenizer, texts) if chat else texts
    encoded: Any = tokenizer(texts, add_special_tokens=not chat)
    rows = [torch.tensor(row) for row in encoded["input_ids"]]
    longest = max(map(len, rows))
    padding: Any = tokenizer.pad_token_id or 0  # masked out: any id will do
    ids = torch.stack([pad(row, (longest - len(row), 0), value=padding) for row in rows])
    mask = torch.stack([pad(torch.ones_like(row), (longest - len(row), 0)) for row in rows])
    return EncodedPrompts(ids, mask, "text" if isinstance(prompts, str) else "texts")


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    prompts: EncodedPrompts,
    *,
    max_new_tokens: int | None = None,
    seed: int | None = None,
    **hf_arguments: Any,
) -> Any:
    """Continue prompts: a text -> the new text, texts -> a list, ids -> ids with the prompt.

    seed: draw samples from this seed and leave torch's own generators as they were. Everything else
    goes to `transformers`' `generate`.
    """
    hf_arguments.setdefault("pad_token_id", _padding_token(model, tokenizer))
    _check_length(model, prompts)
    if "stop_strings" in hf_arguments:
        hf_arguments.setdefault("tokenizer", tokenizer)
    if prompts.attention_mask is not None:
        hf_arguments["attention_mask"] = prompts.attention_mask.to(model.device)
    if max_new_tokens is not None:  # else the model's generation settings count
        hf_arguments["max_new_tokens"] = max_new_tokens
    with _seeded(seed):
        output = model.generate(  # pyright: ignore[reportCallIssue]
            input_ids=prompts.input_ids.to(model.device),
            **hf_arguments,
        )
    return in_form_of(prompts, output, tokenizer)


def in_form_of(
    prompts: EncodedPrompts, output: Any, tokenizer: PreTrainedTokenizerBase | None
) -> Any:
    """Generated ids in the form in which the prompts came: text, texts, or the ids as they are."""
    if prompts.form == "ids":
        return output
    assert tokenizer is not None  # text came in through it
    ids = output if isinstance(output, Tensor) else output.sequences
    new = tokenizer.batch_decode(ids[:, prompts.input_ids.shape[1] :], skip_special_tokens=True)
    return new[0] if prompts.form == "text" and len(new) == 1 else new


def _check_length(model: PreTrainedModel, prompts: EncodedPrompts) -> None:
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    n_tokens = prompts.input_ids.shape[1]
    if context is not None and n_tokens >= context:
        raise ValueError(
            f"the prompt has {n_tokens} tokens and the model's context ends at {context}; shorten it"
        )


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
    return EncodedPrompts(ids, mask, "ids")


def _padding_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> Any:
    config: Any = model.generation_config
    if config is not None and config.pad_token_id is not None:
        return config.pad_token_id
    if tokenizer is not None and tokenizer.pad_token_id is not None:
        return tokenizer.pad_token_id
    end = None if config is None else config.eos_token_id
    return end[0] if isinstance(end, list) else end


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
