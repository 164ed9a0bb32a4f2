"""Questions with their keys, from any source, and the marks that an answer gets."""

from collections.abc import Iterable
from dataclasses import dataclass

from lm_merge.evaluation.answers import AnswerKey, is_right, reference_answer
from lm_merge.evaluation.checks import Check
from lm_merge.evaluation.code_examples import Examples, passes_public_examples, public_examples
from lm_merge.evaluation.judgebench import Pair
from lm_merge.evaluation.sandbox import SandboxLimits, isolation_in_use
from lm_merge.evaluation.symbolic import SymbolicChecker
from lm_merge.evaluation.verifiable import question_set
from lm_merge.zoo.tasks import final_answer


@dataclass(frozen=True)
class KeyedQuestion:
    """A question and what a right answer is.

    key: the exact final answer (bundled questions), an AnswerKey, a Check, the public examples of a
    programming question, or None where nothing is known.
    """

    prompt: str
    category: str
    key: str | AnswerKey | Check | Examples | None


def bundled_questions(n_per_category: int, *, seed: int = 0) -> list[KeyedQuestion]:
    """Held-out questions of the bundled set, by category; the same for the same seed."""
    return [
        KeyedQuestion(question.prompt, question.category, question.answer)
        for question in question_set(n_per_category, seed=seed)
    ]


def judgebench_questions(pairs: Iterable[Pair]) -> list[KeyedQuestion]:
    """The distinct questions of JudgeBench pairs, in order, each with the first key that a pair gives.

    Keys come from the labelled-correct responses; code has its public examples only.
    """
    found: dict[str, KeyedQuestion] = {}
    for pair in pairs:
        known = found.get(pair.question)
        if known is not None and known.key is not None:
            continue
        key = (
            public_examples(pair.question) if pair.category == "Coding" else reference_answer(pair)
        )
        found[pair.question] = KeyedQuestion(pair.question, pair.category, key)
    return list(found.values())


class Marker:
    """Marks answers: 1 right, 0 wrong, NaN where there is no key.

    run_code: run models' programs against the public examples, in isolation (`sandbox`); otherwise
    programming questions have no mark. Raises SandboxUnavailable, before anything is marked, where
    programs cannot be isolated. `isolation` describes the isolation in use; None without run_code.

        with Marker() as marker:
            marker.mark("so \\\\boxed{3}", question)
    """

    def __init__(self, *, run_code: bool = False, limits: SandboxLimits | None = None) -> None:
        self.run_code, self.limits = run_code, limits
        self.isolation = isolation_in_use() if run_code else None
        self.checker = SymbolicChecker()

    def __enter__(self) -> "Marker":
        return self

    def __exit__(self, *_: object) -> None:
        self.checker.close()

    def mark(self, text: str, question: KeyedQuestion) -> float:
        """The mark of a text as the answer to a question."""
        key = question.key
        if isinstance(key, str):
            return float(final_answer(text) == key)
        if isinstance(key, AnswerKey):
            return float(is_right(text, key, self.checker))
        if isinstance(key, Check):
            return float(key.is_right(text))
        if isinstance(key, Examples) and self.run_code:
            return float(passes_public_examples(text, key, self.limits))
        return float("nan")
