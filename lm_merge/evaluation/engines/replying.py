"""Replies of a composition to tokenized prompts, with token counts and the reason each one ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from lm_merge.evaluation.prompting import context_length, padded
from lm_merge.evaluation.replies import end_tokens
from lm_merge.generation import require_tokenizer
from lm_merge.models import HookedLM
from lm_merge.spaces import Composed

StopReason = Literal["stop", "max_tokens", "model_length"]


@dataclass(frozen=True)
class Sampling:
    """How to decode. temperature: None, the host's settings; 0, greedy. top_p, top_k: None, the host's.

    stop: texts that end a reply and are cut off it. seed: only for a prompt that is answered alone.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def arguments(self) -> dict[str, Any]:
        """As arguments of `generate`."""
        if self.temperature == 0:
            return {"do_sample": False, **self._stopping()}
        given = {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}
        sampling = {name: value for name, value in given.items() if value is not None}
        if sampling:
            sampling["do_sample"] = True
        seed = {} if self.seed is None else {"seed": self.seed}
        return {**sampling, **seed, **self._stopping()}

    def _stopping(self) -> dict[str, Any]:
        return {"stop_strings": list(self.stop)} if self.stop else {}


@dataclass(frozen=True)
class Prompt:
    """Token ids of a prompt, and the most tokens that its reply may have."""

    ids: tuple[int, ...]
    max_new_tokens: int


@dataclass(frozen=True)
class Reply:
    """A reply. n_new_tokens counts the end-of-text token; model_length: the context ended first."""

    text: str
    n_new_tokens: int
    stop_reason: StopReason


def reply(composed: Composed, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
    """Replies to one batch of prompts, in order.

    A reply ends at the host's end of text, at a stop text, at its prompt's limit, or where the
    host's context does; a prompt that leaves no room in the context gets an empty reply.
    """
    context = context_length(composed.host)
    limits = [
        one.max_new_tokens if context is None else min(one.max_new_tokens, context - len(one.ids))
        for one in prompts
    ]
    fitting = [place for place, limit in enumerate(limits) if limit > 0]
    found = {}
    if fitting:
        rows = _new_tokens(
            composed,
            [prompts[place].ids for place in fitting],
            max(limits[place] for place in fitting),
            sampling,
        )
        for place, row in zip(fitting, rows, strict=True):
            cut = limits[place] < prompts[place].max_new_tokens
            found[place] = _reply_of(row[: limits[place]], composed.host, sampling.stop, cut)
    none = Reply("", 0, "model_length")
    return [found.get(place, none) for place in range(len(prompts))]


def _new_tokens(
    composed: Composed, rows: Sequence[tuple[int, ...]], max_new_tokens: int, sampling: Sampling
) -> list[list[int]]:
    tokenizer = require_tokenizer(composed.host.tokenizer, composed.host.name)
    prompts = padded(tokenizer, rows, "ids")
    with torch.no_grad():
        output = composed.generate(prompts, max_new_tokens=max_new_tokens, **sampling.arguments())
    return output[:, prompts.input_ids.shape[1] :].tolist()


def _reply_of(row: list[int], host: HookedLM, stop: Sequence[str], cut_by_context: bool) -> Reply:
    tokenizer = require_tokenizer(host.tokenizer, host.name)
    ends = end_tokens(host)
    n = next((place + 1 for place, token in enumerate(row) if token in ends), None)
    text = str(tokenizer.decode(row[:n], skip_special_tokens=True))
    found = [place for place in (text.find(one) for one in stop) if place >= 0]
    if found:
        # tokens after the one that completed the text are padding of the batch
        return Reply(text[: min(found)], _n_until(row[:n], stop, tokenizer), "stop")
    if n is not None:
        return Reply(text, n, "stop")
    return Reply(text, len(row), "model_length" if cut_by_context else "max_tokens")


def _n_until(row: Sequence[int], stop: Sequence[str], tokenizer: Any) -> int:
    """Tokens up to the one that completes a stop text."""
    for n in range(1, len(row) + 1):
        text = tokenizer.decode(row[:n], skip_special_tokens=True)
        if any(one in text for one in stop):
            return n
    return len(row)
