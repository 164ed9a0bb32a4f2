"""Token ids of the texts that a language target is decomposed on."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lm_merge.zoo.names import BUNDLED
from lm_merge.zoo.tasks import SKILLS, Split


class Texts(NamedTuple):
    """Ids padded on the right, which tokens are real, and where each text comes from (its skill)."""

    ids: Int[Tensor, "n_texts n_tokens"]
    real: Bool[Tensor, "n_texts n_tokens"]
    labels: tuple[str, ...]


def question_texts(
    tokenizer: Any,
    skills: Sequence[str],
    n: int,
    *,
    thinks: bool,
    n_tokens: int,
    seed: int,
    split: Split = "train",
) -> Texts:
    """Chats of bundled questions and the right replies, skills in turn."""
    rng = random.Random(seed)
    drawn = [SKILLS[skills[place % len(skills)]].draw(rng, split) for place in range(n)]
    chats = []
    for question in drawn:
        thought = f"<think>{question.thought}</think>" if thinks else ""
        chats.append(
            [
                {"role": "user", "content": question.prompt},
                {"role": "assistant", "content": thought + question.answer},
            ]
        )
    encoded = tokenizer.apply_chat_template(chats, return_dict=True)["input_ids"]
    return padded(encoded, [question.skill for question in drawn], n_tokens)


def file_texts(tokenizer: Any, path: Path, n: int, *, n_tokens: int, seed: int) -> Texts:
    """Lines of a text file, at most `n`, in random order."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"texts={path} has no line with text")
    random.Random(seed).shuffle(lines)
    return padded(tokenizer(lines[:n])["input_ids"], [path.stem] * min(n, len(lines)), n_tokens)


def padded(encoded: Sequence[Sequence[int]], labels: Sequence[str], n_tokens: int) -> Texts:
    """Ids cut to `n_tokens` and padded with 0 on the right, where a causal model does not look."""
    width = min(n_tokens, max(map(len, encoded)))
    ids = torch.zeros(len(encoded), width, dtype=torch.long)
    real = torch.zeros(len(encoded), width, dtype=torch.bool)
    for place, one in enumerate(encoded):
        kept = torch.tensor(list(one)[:width])
        ids[place, : len(kept)], real[place, : len(kept)] = kept, True
    return Texts(ids, real, tuple(labels))


def taught_skills(model: str) -> tuple[str, ...]:
    """Skills that a bundled model was taught; all for another model."""
    return BUNDLED[model].skills if model in BUNDLED else tuple(SKILLS)


def thinks(model: str) -> bool:
    """Whether a bundled model thinks before it answers."""
    return model in BUNDLED and BUNDLED[model].thinks
