r"""Pairs whose wrong response ends in the same answer as the right one.

JudgeBench's labels come from its sources' own answer checks, which also reject a right letter that
is repeated the wrong number of times. Such a pair asks a judge for something other than which
response is right; so accuracy is reported with and without them, and nothing is dropped silently.

The rule. What a response ends in is, by what its question asks for:

- a letter that is repeated ("duplicate that letter five times"): the letter of the last run of
  three or more equal letters A to K that is a word of its own, however long the run is;
- a box: the content of the last ``\boxed{...}`` as written;
- ``***X***``: the last text between three asterisks, in lower case;
- bold type: the last text between two or three asterisks, in lower case.

A pair is found where both responses end in something, and in the same. Code is never found. Nothing
is worked out: boxes that differ by spaces or algebra only differ here. In the gpt-4o split this
finds 24 pairs (11 Math, 12 Reasoning, 1 Knowledge), in the claude split none.
"""

import re
from collections.abc import Iterable
from typing import TypeVar

from lm_merge.evaluation.judgebench.schema import Pair

PairT = TypeVar("PairT", bound=Pair)
_LETTER_RUN = re.compile(r"(?<![A-Za-z])([A-K])\1{2,}(?![A-Za-z])")
_STARS = re.compile(r"\*\*\*([^*\n]+)\*\*\*")
_BOLD = re.compile(r"\*{2,3}([^*\n]+)\*{2,3}")


def final_answer(question: str, response: str) -> str | None:
    """What a response ends in, by the rule above; None where it ends in nothing of the kind."""
    if "duplicate that letter" in question:
        return _last(_LETTER_RUN, response)
    if r"\boxed" in question:
        return _last_box(response)
    if re.search(r"\*\*\*[A-Z]\*\*\*", question):
        return _last(_STARS, response)
    if "in **bold**" in question:
        return _last(_BOLD, response)
    return None


def same_final_answer(pair: Pair) -> bool:
    """Whether both responses of a pair end in the same answer, though one is labelled wrong."""
    answers = {final_answer(pair.question, text) for text in (pair.response_A, pair.response_B)}
    return len(answers) == 1 and answers != {None}


def audited(pairs: Iterable[PairT]) -> list[PairT]:
    """The pairs whose responses do not end in the same answer."""
    return [pair for pair in pairs if not same_final_answer(pair)]


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.findall(text)
    return " ".join(found[-1].strip(" .").lower().split()) if found else None


def _last_box(text: str) -> str | None:
    start = text.rfind(r"\boxed{")
    if start < 0:
        return None
    depth = 0
    for place in range(start + len(r"\boxed"), len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[start + len(r"\boxed{") : place].strip()
    return None
