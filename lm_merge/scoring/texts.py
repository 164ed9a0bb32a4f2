"""Batches of texts that models read: questions with their right answers, or plain texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lm_merge.generation import ids_with_token
from lm_merge.models import HookedLM
from lm_merge.zoo.tasks import Question


@dataclass(frozen=True)
class Texts:
    """A batch of texts, padded on the right.

    answer: columns that hold the right answer, its end token included; none in texts without one.
    prompt_end: column of each text's last prompt token; the last token in texts without an answer.
    """

    tokens: Int[Tensor, "batch pos"]
    attention_mask: Int[Tensor, "batch pos"]
    answer: Bool[Tensor, "batch pos"]
    prompt_end: Int[Tensor, "batch 1"]

    @property
    def predicts(self) -> Bool[Tensor, "batch pos"]:
        """Columns whose next one holds a token; there a next-token distribution is scored."""
        following = self.attention_mask.roll(-1, dims=1).bool()
        following[:, -1] = False
        return following

    @property
    def from_prompt_end(self) -> Bool[Tensor, "batch pos"]:
        """Every token from the last prompt token on."""
        columns = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return (columns >= self.prompt_end) & self.attention_mask.bool()


def encode_questions(host: HookedLM, questions: Sequence[Question], *, chat: bool = True) -> Texts:
    """Each question in the host's chat template with its right answer and end token after it."""
    return encode_replies(host, [(one.prompt, one.answer) for one in questions], chat=chat)


def encode_replies(host: HookedLM, pairs: Sequence[tuple[str, str]], *, chat: bool = True) -> Texts:
    """Each prompt in the host's chat template with a reply, its answer, and the end token."""
    tokenizer: Any = host.tokenizer
    encoded = []
    for given, reply in pairs:
        prompt = host.to_tokens(given, chat=chat).input_ids[0].tolist()
        answer = tokenizer(reply, add_special_tokens=False).input_ids
        encoded.append((prompt, [*answer, tokenizer.eos_token_id]))
    return _padded(encoded, host.device)


def encode_plain(host: HookedLM, texts: Sequence[str], *, chat: bool = False) -> Texts:
    """Texts none of whose tokens is an answer; with `chat` as prompts in the host's template."""
    ids = [host.to_tokens(text, chat=chat).input_ids[0].tolist() for text in texts]
    return _padded([(text, []) for text in ids], host.device)


def _padded(pairs: Sequence[tuple[list[int], list[int]]], device: torch.device) -> Texts:
    n_columns = max(len(prompt) + len(answer) for prompt, answer in pairs)
    tokens = torch.zeros(len(pairs), n_columns, dtype=torch.long)
    mask, in_answer = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(pairs):
        tokens[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        mask[row, : len(prompt) + len(answer)] = 1
        in_answer[row, len(prompt) : len(prompt) + len(answer)] = True
    ends = torch.tensor([[len(prompt) - 1] for prompt, _ in pairs])
    return Texts(*(part.to(device) for part in (tokens, mask, in_answer, ends)))


def words_of(host: HookedLM, ids: Sequence[int]) -> list[str]:
    """The text of each id; `#id` for a padding row of the unembedding, which is no token."""
    return [*map(word_of(host), ids)]


def word_of(host: HookedLM) -> Callable[[int], str]:
    """The text of an id, as in `words_of`."""
    tokenizer: Any = host.tokenizer
    known = set(ids_with_token(tokenizer).tolist())
    return lambda one: tokenizer.decode([one]) if one in known else f"#{one}"
