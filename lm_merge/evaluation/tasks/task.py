"""What a task is: examples of two splits, and the metric by which systems are compared on it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

from lm_merge.evaluation.marking import KeyedQuestion
from lm_merge.zoo.tasks.question import bucket

Split = Literal[
    "dev", "test"
]  # dev: for every choice (coefficients, methods); test: for the result


@dataclass(frozen=True)
class Example:
    """A prompt with its right reply.

    target: a right reply as a whole, its thought included; what a supervised fit learns. label: the
    right answer alone, which macro_f1 takes as the class and word_error_rate as the reference. labels:
    all classes where there is a set of them. question: what marks a reply right or wrong.
    """

    prompt: str
    target: str
    label: str
    question: KeyedQuestion
    labels: tuple[str, ...] = ()


@runtime_checkable
class Task(Protocol):
    """Something that systems are scored on. A user's own class with these four is a task."""

    @property
    def name(self) -> str:
        """For tables; the adapter of this name is the task's expert unless another one is named."""
        ...

    @property
    def metric(self) -> str:
        """Primary metric, one of `METRICS`."""
        ...

    @property
    def max_new_tokens(self) -> int | None:
        """Length of a reply at most; None: that of the analysis."""
        ...

    def examples(self, split: Split) -> Sequence[Example]:
        """All examples of a split in a fixed order; no prompt is in both splits."""
        ...


def check_split(split: str) -> None:
    """ValueError with the known splits for another one."""
    if split not in get_args(Split):
        raise ValueError(f"split={split!r} is unknown; choose from {', '.join(get_args(Split))}")


def split_by(key: str) -> Split:
    """The split of a question that names none: one in two, by a hash, the same on every machine."""
    return "dev" if bucket(f"split {key}", 2) == 0 else "test"


def examples_digest(examples: Sequence[Example]) -> str:
    """Short digest of prompts, targets and labels in their order."""
    content = json.dumps([(one.prompt, one.target, one.label, one.labels) for one in examples])
    return hashlib.sha256(content.encode()).hexdigest()[:12]
