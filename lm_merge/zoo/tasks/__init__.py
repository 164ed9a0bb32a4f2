"""Verifiable questions in JudgeBench's four categories, made by seeded code."""

import random
import re

from lm_merge.zoo.tasks.arithmetic import DIFFERENCES_SKILL, DIGIT_SUMS_SKILL, SUMS_SKILL
from lm_merge.zoo.tasks.knowledge import CAPITALS_SKILL, ELEMENTS_SKILL
from lm_merge.zoo.tasks.programs import ONE_STEP_SKILL, TWO_STEP_SKILL
from lm_merge.zoo.tasks.question import CATEGORIES, Category, Question, Skill, Split
from lm_merge.zoo.tasks.reasoning import ORDERING_SKILL
from lm_merge.zoo.thoughts import after_thoughts

__all__ = [
    "CATEGORIES",
    "QUESTION_SET",
    "SKILLS",
    "Category",
    "Question",
    "Skill",
    "Split",
    "draw_questions",
    "final_answer",
    "is_correct",
]

SKILLS: dict[str, Skill] = {
    skill.name: skill
    for skill in (
        CAPITALS_SKILL,
        ELEMENTS_SKILL,
        ORDERING_SKILL,
        SUMS_SKILL,
        DIFFERENCES_SKILL,
        DIGIT_SUMS_SKILL,
        ONE_STEP_SKILL,
        TWO_STEP_SKILL,
    )
}
# the skills that the question set asks for in each category; the easier ones are for training only
QUESTION_SET: dict[Category, tuple[str, ...]] = {
    "Knowledge": ("capitals", "elements"),
    "Reasoning": ("ordering",),
    "Math": ("sums", "differences"),
    "Coding": ("two_step_programs",),
}
_TRIES_PER_QUESTION = 200


def draw_questions(
    skills: tuple[str, ...], n: int, *, seed: int, split: Split = "held_out"
) -> list[Question]:
    """`n` questions of the named skills in turn, no prompt twice, the same for the same seed.

    Raises ValueError for an unknown skill and where the skills hold fewer than `n` questions.
    """
    unknown = [name for name in skills if name not in SKILLS]
    if unknown:
        raise ValueError(f"skills={unknown} are unknown; choose from {', '.join(sorted(SKILLS))}")
    rng = random.Random(seed)
    found: dict[str, Question] = {}
    for attempt in range(_TRIES_PER_QUESTION * n):
        if len(found) == n:
            break
        question = SKILLS[skills[attempt % len(skills)]].draw(rng, split)
        found.setdefault(question.prompt, question)
    if len(found) < n:
        raise ValueError(
            f"n={n}, but {skills} hold only about {len(found)} {split} questions; ask for fewer"
        )
    return list(found.values())


def final_answer(text: str) -> str:
    """What a model's text gives as its answer: all after the last `</think>`, without spaces around.

    A text that opens `<think>` and never closes it has no answer and gives the empty string.
    """
    return re.sub(r"\s+", " ", after_thoughts(text)).strip()


def is_correct(question: Question, text: str) -> bool:
    """Whether a model's text answers the question: exact equality of the final answer."""
    return final_answer(text) == question.answer
