"""Final answers in free text: which form a question asks for, where the answer is, what equals it.

A question states how its answer is to be written (a letter five times over, a box, bold, three digits).
`answer_form` reads that off the question, `extract_answer` finds the last such answer in a text, and
`same_answer` compares two. A text without an answer in the form asked for has none: it is None,
which equals nothing.
"""

import re
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from lm_merge.evaluation.symbolic import SymbolicChecker
from lm_merge.zoo.thoughts import after_thoughts

AnswerForm = Literal["letter", "boxed", "bold", "digits"]

_LETTER = "[A-P]"  # options of a question; no set in use has more than sixteen
# each way to write a chosen letter, the surest first; the last match in the text counts
_LETTER_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?<![A-Za-z])({_LETTER})\1{{3,}}(?![A-Za-z])",  # CCCCC; III would also be a numeral
        rf"\\boxed\{{\s*(?:\\text(?:bf)?\{{)?\(?({_LETTER})\)?\}}?\s*\}}",
        rf"\*\*\s*\(?({_LETTER})\)?\s*\*\*",
        rf"(?i:answer|choice|option)(?: is)?:?\s*[*$\\({{]*({_LETTER})(?![A-Za-z])",
        rf"(?<![A-Za-z])({_LETTER})\1{{2}}(?![A-Za-z])",
    )
)
_BOLD = re.compile(r"(\*{2,3})(?!\s|\*)([^*\n]+?)(?<!\s)\1(?!\*)")
_LABEL = re.compile(r"(?i)^(?:the )?(?:final )?answer(?: is)?\s*:?$|:$")
_BRACES = {"{": 1, "}": -1}


@runtime_checkable
class LabelledPair(Protocol):
    """Two responses to a question, with a label that marks the right one."""

    @property
    def question(self) -> str: ...
    @property
    def response_A(self) -> str: ...  # noqa: N802
    @property
    def response_B(self) -> str: ...  # noqa: N802
    @property
    def label(self) -> str: ...


@dataclass(frozen=True)
class AnswerKey:
    """The right answer to a question and how it is to be written.

    up_to_constant: any antiderivative is right.
    """

    form: AnswerForm
    answer: str
    up_to_constant: bool = False


def answer_form(question: str) -> AnswerForm | None:
    """Form in which a question asks for its answer; None if it names none of these (code does not).

    Letters come first: questions that want a letter repeated may show boxes in their text.
    """
    if re.search(r"duplicate that letter|letter five times", question):
        return "letter"
    if "boxed" in question:
        return "boxed"
    if "**bold**" in question or re.search(r"\*\*\*\w+\*\*\*", question):
        return "bold"
    if "three digits" in question:
        return "digits"
    return None


def extract_answer(text: str, form: AnswerForm) -> str | None:
    """The last answer in a text, in the form asked for; None where there is none.

    Only what follows the last `</think>` is read; a thought that never ends has no answer.
    """
    return _EXTRACT[form](after_thoughts(text))


def same_answer(given: str | None, key: AnswerKey, checker: SymbolicChecker) -> bool:
    """Whether an extracted answer is the right one.

    Letters and digits by equality, bold words by their words, numbers and boxes by symbolic equality
    (`SymbolicChecker`), in which an answer that cannot be decided in time counts as wrong.
    """
    if given is None:
        return False
    if key.form in ("letter", "digits"):
        return given == key.answer
    if key.form == "bold":
        return _words(given) == _words(key.answer)
    return checker.equal(given, key.answer, up_to_constant=key.up_to_constant)


def is_right(text: str, key: AnswerKey, checker: SymbolicChecker) -> bool:
    """Whether a text's final answer is the right one."""
    return same_answer(extract_answer(text, key.form), key, checker)


def reference_answer(pair: LabelledPair) -> AnswerKey | None:
    """The answer key that a pair's labelled-correct response gives; None where it gives none.

    Code has no such key: of its tests only those in the question are known (`public_examples`).
    """
    form = answer_form(pair.question)
    if form is None:
        return None
    if pair.label not in ("A>B", "B>A"):
        raise ValueError(f"label={pair.label!r} is unknown; choose from A>B, B>A")
    answer = extract_answer(pair.response_A if pair.label == "A>B" else pair.response_B, form)
    integral = form == "boxed" and "indefinite integral" in pair.question
    return None if answer is None else AnswerKey(form, answer, up_to_constant=integral)


def _last_letter(text: str) -> str | None:
    for pattern in _LETTER_PATTERNS:
        found = pattern.findall(text)
        if found:
            return found[-1]
    return None


def _last_box(text: str) -> str | None:
    r"""Content of the last whole \boxed{...}; braces inside are balanced, escaped ones skipped."""
    for match in reversed(list(re.finditer(r"\\boxed\s*\{", text))):
        depth, place = 1, match.end()
        while place < len(text) and depth:
            depth += 0 if text[place - 1] == "\\" else _BRACES.get(text[place], 0)
            place += 1
        if depth == 0 and text[match.end() : place - 1].strip():
            return text[match.end() : place - 1].strip()
    return None


def _last_bold(text: str) -> str | None:
    """The last emphasised words that are more than a heading such as "Final answer:"."""
    found = [match.group(2).strip() for match in _BOLD.finditer(text)]
    found = [words for words in found if not _LABEL.search(words)]
    return found[-1] if found else None


def _last_digits(text: str) -> str | None:
    """The last three digits that stand alone."""
    found = re.findall(r"(?<![\d.,])\d{3}(?![\d]|[.,]\d)", text)
    return found[-1] if found else None


def _words(answer: str) -> str:
    """Words for comparison: lower case, numbers without leading zeros, no punctuation around."""
    words = re.findall(r"[^\s,;.:!?\"'()$\\]+", answer.lower())
    return " ".join(word.lstrip("0") or "0" if word.isdigit() else word for word in words)


_EXTRACT = {
    "letter": _last_letter,
    "boxed": _last_box,
    "bold": _last_bold,
    "digits": _last_digits,
}
