"""The bundled held-out questions as rows of a dataset, and how an answer scores."""

from typing import Any

from datasets import Dataset

from lm_merge.evaluation.verifiable import question_set
from lm_merge.zoo.tasks import final_answer


def dataset(n_per_category: int = 50, seed: int = 0, **_: Any) -> dict[str, Dataset]:
    """Columns: prompt, answer, category, skill."""
    rows = [
        {"prompt": one.prompt, "answer": one.answer, "category": one.category, "skill": one.skill}
        for one in question_set(int(n_per_category), seed=int(seed))
    ]
    return {"test": Dataset.from_list(rows)}


def score(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """1 where all after the last </think> is the right answer, else 0."""
    return {"exact_match": float(final_answer(results[0]) == doc["answer"])}
