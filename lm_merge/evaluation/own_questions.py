"""Questions of one's own: a JSONL file with a prompt, an answer, a category and a check in each line.

    {"prompt": "12 + 34 = ?", "answer": 46, "check": "number", "category": "sums"}
    {"prompt": "Name the capital of Norway.", "answer": "Oslo"}
    {"prompt": "Is it true? ...", "answer": "no", "check": {"labels": ["yes", "no"]}}
    {"prompt": "Write a haiku.", "answer": "", "check": "my_checks:is_haiku"}

`check`: "exact" (the default), "number" (the last one after `</think>`), a set of labels, or a
function "package.module:function" that takes the text and the answer. Tasks also read `split` ("dev" or
"test"; by a hash of the prompt unless given) and `target`, a right reply with its thought.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lm_merge.evaluation.checks import Check, Exact, Number, OneOf, OwnCode
from lm_merge.evaluation.json_lines import read_rows, read_text
from lm_merge.evaluation.marking import KeyedQuestion

CATEGORY = "Questions"  # of lines that name none


class LabelSet(BaseModel):
    """A check by labels: the answer is one of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    labels: tuple[str, ...]


class OwnQuestion(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt: str = Field(min_length=1)
    answer: str | int | float
    category: str = Field(default=CATEGORY, min_length=1)
    check: str | LabelSet = "exact"
    tolerance: float = Field(default=0.0, description="of a number: largest absolute difference")
    split: Literal["dev", "test"] | None = Field(
        default=None, description="where tasks have splits"
    )
    target: str | None = Field(
        default=None, description="a right reply as a whole; None: the answer alone"
    )

    @model_validator(mode="after")
    def _checkable(self) -> "OwnQuestion":
        if self.tolerance and self.check != "number":
            raise ValueError(
                f"tolerance={self.tolerance} belongs to the check number; leave it out"
            )
        self.to_check()
        return self

    def to_check(self) -> Check:
        """The check of an answer to this question."""
        answer = str(self.answer)
        if isinstance(self.check, LabelSet):
            return OneOf(answer, self.check.labels)
        if self.check == "exact":
            return Exact(answer)
        if self.check == "number":
            return Number(answer, self.tolerance)
        return OwnCode(answer, self.check)


def is_own(path: str | Path) -> bool:
    """Whether a file is of this form: its first line contains the key "prompt"."""
    if not Path(path).is_file():
        return False
    first = next((line for line in read_text(path).split("\n") if line.strip()), "")
    try:
        row = json.loads(first)
    except ValueError:
        return False
    return isinstance(row, dict) and "prompt" in row


def own_questions(path: str | Path) -> list[KeyedQuestion]:
    """The questions of a JSONL file, in order, each with its check.

    Raises ValueError, with file and line, for a line that does not fit, for a file without questions
    and for a prompt that appears twice.
    """
    return [KeyedQuestion(row.prompt, row.category, row.to_check()) for row in own_rows(path)]


def own_rows(path: str | Path) -> list[OwnQuestion]:
    """The lines of a JSONL file of questions; errors as in `own_questions`."""
    rows = read_rows(path, OwnQuestion)
    if not rows:
        raise ValueError(f"{path} contains no question; give one JSON object a line")
    repeated = [prompt for prompt, n in Counter(row.prompt for row in rows).items() if n > 1]
    if repeated:
        raise ValueError(f"{path} contains the prompt {repeated[0][:80]!r} twice; keep one of them")
    return rows
