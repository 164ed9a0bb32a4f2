"""The texts that a fit reads: prompts of a task with replies, whose tokens are its label positions."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lm_merge.evaluation.replies import reply_in_batches
from lm_merge.models import HookedLM
from lm_merge.scoring.texts import Texts, encode_replies
from lm_merge.spaces.adapters import AdapterMerge


@dataclass(frozen=True)
class FitTask:
    """A task's texts, and the adapter that is its expert.

    replies: right ones for a supervised fit; else the expert's own (`expert_replies`), which need no
    labels.
    """

    name: str
    expert: str
    prompts: tuple[str, ...]
    replies: tuple[str, ...]


@dataclass(frozen=True)
class FitBatch:
    """Texts, the columns whose next token belongs to a reply, and each one's weight in a mean over
    texts of means over their positions.
    """

    texts: Texts
    at: Bool[Tensor, "batch pos"]
    weights: Float[Tensor, " n"]


def expert_replies(
    merge: AdapterMerge,
    expert: str,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
) -> tuple[str, ...]:
    """Greedy replies of one adapter alone on the merge's host."""
    alone = AdapterMerge(merge.host, [one for one in merge.adapters if one.name == expert])
    batches = reply_in_batches(alone, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)
    return tuple(reply.text for batch in batches for reply in batch)


def fit_batches(host: HookedLM, task: FitTask, batch_size: int, seed: int) -> list[FitBatch]:
    """The task's texts in a drawn order, batch by batch."""
    pairs = list(zip(task.prompts, task.replies, strict=True))
    random.Random(f"{seed} {task.name}").shuffle(pairs)
    parts = [pairs[start : start + batch_size] for start in range(0, len(pairs), batch_size)]
    return [_batch(encode_replies(host, part)) for part in parts]


def _batch(texts: Texts) -> FitBatch:
    at = texts.answer.roll(-1, dims=1)
    at[:, -1] = False
    per_text = at.sum(dim=1, keepdim=True)
    weights = (at / per_text)[at] / len(at)
    return FitBatch(texts, at, weights.to(torch.float32))


def texts_digest(tasks: Sequence[FitTask]) -> str:
    """Short digest of all prompts and replies."""
    content = json.dumps([(one.name, one.expert, one.prompts, one.replies) for one in tasks])
    return hashlib.sha256(content.encode()).hexdigest()[:12]
