"""Which context's answer a text states in the end."""

import re
import string
from typing import Literal

from lm_merge.evaluation.context_pairs.schema import ContextPair

States = Literal["injected", "original", "both", "neither"]
_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")
TOLERANCE = 1e-3


def stated_number(text: str) -> float | None:
    """The last number in a box, else the last after the word "answer", else the last in the text."""
    boxed = re.findall(r"\\boxed\{([^{}]*)\}", text)
    after = re.split(r"(?i)answer", text)
    for part in (*reversed(boxed), *([after[-1]] if len(after) > 1 else []), text):
        found = _NUMBER.findall(part)
        if found:
            return float(found[-1].replace(",", ""))
    return None


def normalised(text: str) -> list[str]:
    """Words in lower case, without articles and punctuation."""
    plain = text.lower().translate(str.maketrans("", "", string.punctuation))
    return [word for word in plain.split() if word not in ("a", "an", "the")]


def token_f1(text: str, answer: str) -> float:
    """Harmonic mean of precision and recall of an answer's words in a text's, in [0, 1]."""
    given, right = normalised(text), normalised(answer)
    common = sum(min(given.count(word), right.count(word)) for word in set(right))
    return 2 * common / (len(given) + len(right)) if common else 0.0


def states(text: str, pair: ContextPair) -> States:
    """Whose answer the text states: numbers by value, others where the text contains the answer."""
    original, injected = (_is(text, answer) for answer in (pair.answer, pair.alt_answer))
    if original and injected:
        return "both"
    if injected:
        return "injected"
    return "original" if original else "neither"


def _is(text: str, answer: str) -> bool:
    if _NUMBER.fullmatch(answer):
        number, right = stated_number(text), float(answer)
        return number is not None and abs(number - right) <= TOLERANCE * max(abs(right), TOLERANCE)
    words, right_words = normalised(text), normalised(answer)
    places = range(len(words) - len(right_words) + 1)
    return bool(right_words) and any(
        words[place : place + len(right_words)] == right_words for place in places
    )
