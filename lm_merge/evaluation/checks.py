"""Checks of an answer against the right one: exact text, a number, one of a set of labels, own code.

Every check reads only what follows the last `</think>`; a thought that never ends has no answer,
and is wrong.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, runtime_checkable

from lm_merge.zoo.thoughts import after_thoughts

_NUMBER = re.compile(
    r"(?:(?<![\w.])[-+])?"  # the dash in "3-4" and in "A-4" is no sign
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d{1,3}(?!\w))?"
)


@runtime_checkable
class Check(Protocol):
    """Whether a model's text is right."""

    def is_right(self, text: str) -> bool: ...


@dataclass(frozen=True)
class Exact:
    """The answer is the whole text after the thought, apart from white space around it."""

    answer: str

    def is_right(self, text: str) -> bool:
        return _has_answer(text) and after_thoughts(text).strip() == self.answer.strip()


@dataclass(frozen=True)
class Number:
    """The last number after the thought equals the answer, which is a number in decimal digits.

    Commas between thousands are read; units and other words do not count. tolerance: the largest
    absolute difference that is right.
    """

    answer: str
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if last_number(self.answer) is None or _NUMBER.fullmatch(self.answer.strip()) is None:
            raise ValueError(f"answer={self.answer!r} is not a number; give one such as 12 or -0.5")
        if not 0 <= self.tolerance < float("inf"):
            raise ValueError(f"tolerance={self.tolerance} must be 0 or more, and finite")

    def is_right(self, text: str) -> bool:
        given, wanted = last_number(after_thoughts(text)), last_number(self.answer)
        if given is None or wanted is None:
            return False
        return given == wanted or abs(given - wanted) <= Decimal(str(self.tolerance)) > 0


@dataclass(frozen=True)
class OneOf:
    """The text after the thought names one label of a set, and it is the right one.

    Labels are compared as whole words without regard to case. A text that names several different
    labels has none, and is wrong; a label that is part of a longer one ("entailment" in "not
    entailment") does not count there.
    """

    answer: str
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        folded = [label.casefold().strip() for label in self.labels]
        if len(folded) < 2 or "" in folded or len(set(folded)) < len(folded):
            raise ValueError(f"labels={list(self.labels)}: give two or more, all different")
        if self.answer not in self.labels:
            raise ValueError(f"answer={self.answer!r} is not among labels={list(self.labels)}")

    def is_right(self, text: str) -> bool:
        return named_label(after_thoughts(text), self.labels) == self.answer


@dataclass(frozen=True)
class OwnCode:
    """A function of the user's, "package.module:function", called with the text and the answer.

    The function is the user's own code: it runs in this process, without isolation. It gets the whole
    text, the thought included, and returns True or False.
    """

    answer: str
    entry_point: str

    def __post_init__(self) -> None:
        _function(self.entry_point)

    def is_right(self, text: str) -> bool:
        right = _function(self.entry_point)(text, self.answer)
        if not isinstance(right, bool):
            raise ValueError(
                f"check={self.entry_point!r} returned {right!r}; it must return True or False"
            )
        return right


def last_number(text: str) -> Decimal | None:
    """The last number of a text; None where there is none."""
    found = _NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


def named_label(text: str, labels: tuple[str, ...]) -> str | None:
    """The one label that a text names; None for none, or for several different ones."""
    longest_first = sorted(labels, key=len, reverse=True)
    pattern = "|".join(rf"(?<!\w){re.escape(label)}(?!\w)" for label in longest_first)
    by_word = {label.casefold(): label for label in labels}
    named = {by_word[found.casefold()] for found in re.findall(pattern, text, re.IGNORECASE)}
    return named.pop() if len(named) == 1 else None


def _has_answer(text: str) -> bool:
    return bool(after_thoughts(text).strip())


def _function(entry_point: str) -> Callable[[str, str], object]:
    module, _, name = entry_point.partition(":")
    if not module or not name:
        raise ValueError(
            f"check={entry_point!r} is unknown; choose from exact, number, "
            '{"labels": [...]}, or "package.module:function"'
        )
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"check={entry_point!r} cannot be imported ({error}); put the module on PYTHONPATH"
        ) from None
    if not callable(function):
        raise ValueError(f"check={entry_point!r} is not a function")
    return function
