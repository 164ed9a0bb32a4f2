"""Ask a model questions and check its answers exactly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lm_merge.zoo.tasks import Question, is_correct

ReplyFunction = Callable[[list[str]], list[str]]
MAX_NEW_TOKENS = 40  # the longest taught reply, a thought and its answer, takes 31


@dataclass(frozen=True)
class Answer:
    """A model's reply to a question, and whether its final answer is right."""

    question: Question
    text: str
    correct: bool


def answer_questions(
    reply: ReplyFunction, questions: Sequence[Question], *, batch_size: int = 64
) -> list[Answer]:
    """Answers in the questions' order; `reply` gives one text for each prompt of a batch."""
    answers: list[Answer] = []
    for start in range(0, len(questions), batch_size):
        batch = questions[start : start + batch_size]
        texts = reply([question.prompt for question in batch])
        answers += [
            Answer(question, text, is_correct(question, text))
            for question, text in zip(batch, texts, strict=True)
        ]
    return answers
