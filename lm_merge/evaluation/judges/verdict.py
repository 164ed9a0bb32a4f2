"""A verdict out of a judge's reply."""

import re
from dataclasses import dataclass

from lm_merge.evaluation.judges.protocol import Decision

VERDICT_LABELS: dict[str, Decision] = {
    "A>>B": "A>B",
    "A>B": "A>B",
    "A=B": "A=B",
    "B>A": "B>A",
    "B>>A": "B>A",
}
_BRACKETED = re.compile(r"\[\[([AB<>=]+)\]\]")


@dataclass(frozen=True)
class Verdict:
    """A reply as read. unfinished: it contains no label at all, so that asking to go on may help."""

    decision: Decision | None
    unfinished: bool


def read_verdict(reply: str) -> Verdict:
    """The verdict of a reply: the one distinct label in double square brackets, anywhere in the text.

    A label is made of A, B, <, > and =. Several distinct labels are no verdict, and they are
    compared as written, so that [[A>B]] next to [[A>>B]] is none either; nor is a single label that
    is not of the five in VERDICT_LABELS, such as [[A]] or [[A<B]]. As JudgeBench's own parser.
    """
    labels = set(_BRACKETED.findall(reply))
    if len(labels) != 1:
        return Verdict(None, unfinished=not labels)
    return Verdict(VERDICT_LABELS.get(labels.pop()), unfinished=False)
