"""Three tiny tasks of our own in the harness's format, with their data in place."""

from typing import Any

from datasets import Dataset

QUESTIONS = (
    ("What is the capital of Norway?", ("Oslo", "Paris", "Rome"), 0),
    ("What is the capital of France?", ("Oslo", "Paris", "Rome"), 1),
    ("What is the capital of Italy, which lies in Europe?", ("Madrid, I think", "Rome"), 1),
    ("47+38 = ?", ("85", "86", "58"), 0),
    ("12+9 = ?", ("21", "11"), 0),
)


def questions(**_: Any) -> dict[str, Dataset]:
    """The questions as the harness wants them: splits of rows."""
    rows = [
        {"question": question, "choices": list(choices), "label": label, "gold": choices[label]}
        for question, choices, label in QUESTIONS
    ]
    return {"test": Dataset.from_list(rows)}


_COMMON: dict[str, Any] = {
    "custom_dataset": questions,
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "metadata": {"version": 1},
}
CHOICE = {
    **_COMMON,
    "task": "tiny_choice",
    "output_type": "multiple_choice",
    "doc_to_target": "label",
    "doc_to_choice": "choices",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}
ROLLING = {
    **_COMMON,
    "task": "tiny_rolling",
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{question}} {{gold}}",
    "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
}
GENERATE = {
    **_COMMON,
    "task": "tiny_generate",
    "output_type": "generate_until",
    "doc_to_target": "gold",
    "generation_kwargs": {"until": ["."], "max_gen_toks": 12, "do_sample": False},
    "metric_list": [{"metric": "exact_match"}],
}
TASKS = [CHOICE, ROLLING, GENERATE]
