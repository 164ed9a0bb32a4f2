"""Where tasks come from: the bundled skills, and files of questions of one's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_merge.evaluation.checks import OneOf
from lm_merge.evaluation.marking import KeyedQuestion
from lm_merge.evaluation.own_questions import OwnQuestion, own_rows
from lm_merge.evaluation.tasks.metrics import get_metric
from lm_merge.evaluation.tasks.task import Example, Split, Task, check_split, split_by
from lm_merge.zoo.adapter_names import BUNDLED_ADAPTERS
from lm_merge.zoo.scoring import MAX_NEW_TOKENS
from lm_merge.zoo.tasks import SKILLS, Question, draw_questions

N_DRAWN = 1000  # held-out questions of a skill, both splits together, where it has as many


@dataclass(frozen=True)
class SkillTask:
    """A bundled skill: its held-out questions, of which no thought is in both splits.

    The thought contains what a question asks for (its numbers, its country), so a question in other
    words is in the same split. target: with the thought where the skill's bundled adapter thinks.
    """

    name: str
    metric: str = "accuracy"
    max_new_tokens: int | None = MAX_NEW_TOKENS

    def __post_init__(self) -> None:
        if self.name not in SKILLS:
            raise ValueError(f"task {self.name!r} is unknown; choose from {', '.join(SKILLS)}")
        get_metric(self.metric)

    def examples(self, split: Split) -> Sequence[Example]:
        """The split's half of the drawn questions, in the order in which they were drawn."""
        check_split(split)
        n = min(N_DRAWN, SKILLS[self.name].n_held_out or N_DRAWN)
        drawn = draw_questions((self.name,), n, seed=0)
        return [self._example(one) for one in drawn if split_by(one.thought) == split]

    def _example(self, question: Question) -> Example:
        bundled = BUNDLED_ADAPTERS.get(self.name)
        thinks = bundled is not None and bundled.thinks
        target = f"<think>{question.thought}</think>" if thinks else ""
        keyed = KeyedQuestion(question.prompt, self.name, question.answer)
        return Example(question.prompt, target + question.answer, question.answer, keyed)


@dataclass(frozen=True)
class OwnTask:
    """Questions of one category of a file.

    A line's `split` counts; a line without one is in dev or test by a hash of its prompt.
    """

    name: str
    rows: tuple[OwnQuestion, ...]
    metric: str = "accuracy"
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        get_metric(self.metric)

    def examples(self, split: Split) -> Sequence[Example]:
        """The questions of a split in the order of the file."""
        check_split(split)
        return [
            _own_example(row) for row in self.rows if (row.split or split_by(row.prompt)) == split
        ]


def _own_example(row: OwnQuestion) -> Example:
    check, label = row.to_check(), str(row.answer)
    labels = check.labels if isinstance(check, OneOf) else ()
    question = KeyedQuestion(row.prompt, row.category, check)
    return Example(row.prompt, row.target or label, label, question, labels)


def own_tasks(path: Path, metrics: Mapping[str, str] | None = None) -> dict[str, Task]:
    """A task for each category of a JSONL file (`own_questions`), by name, in order of appearance.

    metrics: category -> metric; accuracy where none is named.
    """
    rows, metrics = own_rows(path), metrics or {}
    names = list(dict.fromkeys(row.category for row in rows))
    unknown = sorted(set(metrics) - set(names))
    if unknown:
        raise ValueError(f"metrics: {path} has no category {unknown}; it has {', '.join(names)}")
    return {
        name: OwnTask(
            name, tuple(row for row in rows if row.category == name), metrics.get(name, "accuracy")
        )
        for name in names
    }
