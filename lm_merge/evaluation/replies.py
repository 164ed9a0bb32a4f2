"""A system's replies to prompts, batch by batch, with the number of tokens and truncation."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lm_merge.generation import EncodedPrompts, require_tokenizer
from lm_merge.models import HookedLM
from lm_merge.spaces import Composed


@dataclass(frozen=True)
class Reply:
    """A reply; n_new_tokens counts the end-of-text token too.

    truncated: it reached the limit on new tokens without ending.
    """

    text: str
    n_new_tokens: int
    truncated: bool


def reply_in_batches(
    system: Composed,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 16,
    temperature: float = 0.0,
    seed: int = 0,
    chat: bool = True,
    stop_ids: Sequence[int] = (),
) -> Iterator[list[Reply]]:
    """Replies to each batch of prompts in order, one list a batch.

    temperature: 0 decodes greedily; above 0 samples, and then every batch has a seed of its own made
    from `seed` and its first prompt, so that a run that continues after a stop gives the same replies.
    stop_ids: ids that end a reply, too, besides the host's own (a donor may end its text with another).
    """
    if temperature < 0:
        raise ValueError(f"temperature={temperature} is negative; give 0 (greedy) or more")
    ends = end_tokens(system.host) | frozenset(stop_ids)
    stop: dict[str, Any] = {"eos_token_id": sorted(ends)} if stop_ids else {}
    for start in range(0, len(prompts), batch_size):
        batch = list(prompts[start : start + batch_size])
        sampling: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            sampling = {
                "do_sample": True,
                "temperature": temperature,
                "seed": batch_seed(seed, batch[0]),
            }
        encoded = system.host.to_tokens(batch, chat=chat)
        ids = EncodedPrompts(encoded.input_ids, encoded.attention_mask, "ids")
        with torch.no_grad():
            output = system.generate(ids, max_new_tokens=max_new_tokens, **sampling, **stop)
        new = output[:, encoded.input_ids.shape[1] :].tolist()
        yield [_reply(row, system.host, max_new_tokens, ends) for row in new]


def batch_seed(seed: int, first_prompt: str) -> int:
    """Seed of a batch: 31 bits of a hash, the same in every process."""
    digest = hashlib.sha256(f"{seed}\n{first_prompt}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def end_tokens(model: HookedLM) -> frozenset[int]:
    """Ids that end a text: the generation settings' and the tokenizer's."""
    config: Any = None if model.native is None else model.native.generation_config
    given = None if config is None else config.eos_token_id
    ends = list(given) if isinstance(given, list) else [given]
    if model.tokenizer is not None:
        ends.append(model.tokenizer.eos_token_id)
    return frozenset(int(end) for end in ends if end is not None)


def _reply(row: list[int], host: HookedLM, max_new_tokens: int, ends: frozenset[int]) -> Reply:
    n = next((place + 1 for place, token in enumerate(row) if token in ends), len(row))
    ended = n > 0 and row[n - 1] in ends
    tokenizer = require_tokenizer(host.tokenizer, host.name)
    text = str(tokenizer.decode(row[:n], skip_special_tokens=True))
    return Reply(text, n, truncated=not ended and n >= max_new_tokens)
