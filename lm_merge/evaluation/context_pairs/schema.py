"""One pair of contexts: what a JSON line of a user's own file contains."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

CONTROL = "control"
OTHER_KEYS = {  # of files that name the fields otherwise
    "Question": "context",
    "Answer": "answer",
    "alt_problem": "alt_context",
    "variation_type": "kind",
    "Equation": "equation",
}


class ContextPair(BaseModel):
    """A text's context c0 and the context c1 that is injected into it.

    kind: how c1 differs; "control": not at all. prefix: text before either context, the same for both.
    cluster: pairs that belong together (a story); each pair its own unless given. neutral: a context
    like the others, as long as alt_context, that changes nothing for this text; "" where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    id: str
    kind: str = CONTROL
    context: str
    alt_context: str
    answer: str = ""
    alt_answer: str = ""
    prefix: str = ""
    equation: str = ""
    alt_equation: str = ""
    cluster: str = ""
    neutral: str = ""


def read_pairs(path: Path) -> list[ContextPair]:
    """Pairs of a JSONL file, one object a line. Raises ValueError that names the line that is none."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append(pair_of(json.loads(line), f"{path.stem}-{number}"))
        except (json.JSONDecodeError, ValidationError, TypeError, AttributeError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(
                f"{path}, line {number} is no pair of contexts ({first}); a line has id, kind, context, "
                "alt_context, answer and alt_answer"
            ) from error
    _check(found, path)
    return found


def pair_of(fields: dict[str, Any], identity: str) -> ContextPair:
    """A pair from its fields, under either set of names; without a kind it is a control."""
    named = {OTHER_KEYS.get(key, key): value for key, value in fields.items()}
    named = {key: value for key, value in named.items() if value is not None}
    if "alt_context" not in named and named.get("kind", CONTROL) == CONTROL:
        named |= {"alt_context": named.get("context"), "alt_answer": named.get("answer", "")}
    return ContextPair.model_validate({"id": identity, **named})


def _check(pairs: Sequence[ContextPair], path: Path) -> None:
    if not pairs:
        raise ValueError(f"{path} contains no pair of contexts")
    ids = [pair.id for pair in pairs]
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise ValueError(f"{path}: id {twice!r} occurs twice; give every pair its own")
