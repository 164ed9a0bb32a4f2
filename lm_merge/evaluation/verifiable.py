"""Accuracy on questions whose answers can be checked."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from lm_merge.statistics.intervals import wilson_interval
from lm_merge.zoo.scoring import MAX_NEW_TOKENS, Answer, answer_questions
from lm_merge.zoo.tasks import CATEGORIES, QUESTION_SET, Question, draw_questions


@runtime_checkable
class CanGenerate(Protocol):
    """A model, or a merge of models, that continues prompts."""

    def generate(self, prompts: Any, **arguments: Any) -> Any: ...


def question_set(n_per_category: int, *, seed: int = 0) -> list[Question]:
    """Held-out questions in JudgeBench's four categories, the same for the same seed.

    >>> questions = question_set(2)
    >>> len(questions), questions[0].category
    (8, 'Knowledge')
    """
    return [
        question
        for category in CATEGORIES
        for question in draw_questions(QUESTION_SET[category], n_per_category, seed=seed)
    ]


def ask(model: CanGenerate, questions: Sequence[Question], *, batch_size: int = 64) -> list[Answer]:
    """Greedy answers of a model or merge, in its chat template.

    >>> import lm_merge as lm
    >>> answers = ask(lm.load("tiny-instruct"), question_set(2))
    >>> len(answers), answers[0].correct
    (8, True)
    """

    def reply(prompts: list[str]) -> list[str]:
        return model.generate(prompts, chat=True, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)

    return answer_questions(reply, questions, batch_size=batch_size)


def accuracy_table(answers: dict[str, Sequence[Answer]]) -> pd.DataFrame:
    """One row a system and category, and "Overall".

    Columns: system, category, accuracy_frac, low and high (95 % Wilson interval), n.

    >>> import lm_merge as lm
    >>> table = accuracy_table({"host": ask(lm.load("tiny-instruct"), question_set(2))})
    >>> table.category.tolist()
    ['Knowledge', 'Reasoning', 'Math', 'Coding', 'Overall']
    """
    rows = []
    for system, given in answers.items():
        for category in (*CATEGORIES, "Overall"):
            of_category = [a for a in given if category in (a.question.category, "Overall")]
            if not of_category:
                continue
            n_right, n = sum(answer.correct for answer in of_category), len(of_category)
            low, high = wilson_interval(n_right, n)
            rows.append(
                {
                    "system": system,
                    "category": category,
                    "accuracy_frac": n_right / n,
                    "low": low,
                    "high": high,
                    "n": n,
                }
            )
    return pd.DataFrame(rows)
