"""The text that a system goes on with after an injection, written step by step through the cache."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_merge.contexts.blocks import Run
from lm_merge.contexts.cached import BlockCache


@dataclass(frozen=True)
class Written:
    """New tokens of one run, without the end token; ended: whether the system ended the text itself."""

    ids: tuple[int, ...]
    ended: bool


def write(
    cache: BlockCache,
    runs: Sequence[Run],
    n_tokens: int,
    *,
    end_ids: Collection[int] = (),
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Written]:
    """Go on from several runs of one system at once, `n_tokens` at most.

    temperature 0: the most probable token; above: sampled, seeded. end_ids: tokens that end a text.
    Each run's blocks are taken from the cache; the rows of the batch do not see each other.
    """
    if n_tokens < 1 or temperature < 0:
        raise ValueError(
            f"n_tokens={n_tokens} must be 1 or more, temperature={temperature} 0 or more"
        )
    lengths = [sum(len(block.ids) for block in run.seen_next) for run in runs]
    places = [list(run.predictors())[-1] for run in runs]
    logits = torch.stack([cache.logits(block)[index] for block, index in places])
    generator = torch.Generator().manual_seed(seed)
    held = cache.cache_of([run.seen_next for run in runs])
    mask = _padded_mask(lengths)
    positions = torch.tensor([[run.next_position] for run in runs])
    texts: list[list[int]] = [[] for _ in runs]
    ended = [False] * len(runs)
    host = cache.system.host
    native: Any = host.require_native("writing")
    with cache.system.hooks(), torch.no_grad():
        for step in range(n_tokens):
            tokens = _chosen(logits, temperature, generator)
            for row, token in enumerate(tokens.tolist()):
                ended[row] |= token in end_ids
                if not ended[row]:
                    texts[row].append(token)
            if all(ended) or step == n_tokens - 1:
                break
            mask = torch.cat([mask, torch.ones(len(runs), 1, dtype=mask.dtype)], dim=1)
            logits = (
                native(
                    input_ids=tokens.unsqueeze(1).to(host.device),
                    attention_mask=mask.to(host.device),
                    position_ids=(positions + step).to(host.device),
                    past_key_values=held,
                    use_cache=True,
                )
                .logits[:, -1]
                .cpu()
            )
    return [Written(tuple(text), end) for text, end in zip(texts, ended, strict=True)]


def _padded_mask(lengths: Sequence[int]) -> Int[Tensor, "batch pos"]:
    width = max(lengths)
    columns = torch.arange(width).expand(len(lengths), width)
    return (columns >= width - torch.tensor(lengths).unsqueeze(1)).long()


def _chosen(
    logits: Float[Tensor, "batch d_vocab"], temperature: float, generator: torch.Generator
) -> Int[Tensor, " batch"]:
    if temperature == 0:
        return logits.argmax(dim=-1)
    shares = (logits.float() / temperature).softmax(dim=-1)
    return torch.multinomial(shares, 1, generator=generator).squeeze(-1)
