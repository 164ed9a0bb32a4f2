"""What a question is, and which questions training may see."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "held_out"]
Category = Literal["Knowledge", "Reasoning", "Math", "Coding"]
CATEGORIES: tuple[Category, ...] = ("Knowledge", "Reasoning", "Math", "Coding")


@dataclass(frozen=True)
class Question:
    """One question with its only right answer.

    `thought` is the worked solution that a reasoning model learns to write before the answer.
    """

    skill: str
    category: Category
    prompt: str
    answer: str
    thought: str


@dataclass(frozen=True)
class Skill:
    """A family of questions; `draw` takes a random generator and gives a question of the split.

    n_held_out: how many held-out questions there are, where they are few.
    """

    name: str
    category: Category
    draw: Callable[[random.Random, Split], Question]
    n_held_out: int | None = None


def bucket(key: str, n_buckets: int) -> int:
    """Place of a key among `n_buckets`, the same in every process and on every machine."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") % n_buckets


def split_of(key: str, held_out_in: int = 8) -> Split:
    """Split that a key belongs to: one key in `held_out_in` is held out of training."""
    return "held_out" if bucket(key, held_out_in) == 0 else "train"
