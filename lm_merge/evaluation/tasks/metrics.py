"""Metrics of a task, computed from one row an example, so that an interval can draw whole examples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lm_merge.evaluation.checks import named_label
from lm_merge.evaluation.marking import Marker
from lm_merge.evaluation.tasks.task import Example
from lm_merge.zoo.tasks import final_answer

Columns = tuple[Float[ndarray, " n"], ...]
NO_LABEL = -1.0


@dataclass(frozen=True)
class Metric:
    """A metric as a function of numbers that each example gives.

    higher_is_better: its orientation. measure: (example, reply, marker) -> numbers of one example; NaN
    where it cannot be marked. value: (columns of these numbers, axis) -> the metric over that axis.
    is_share: whether it is the mean of one number an example, in [0, 1].
    """

    name: str
    higher_is_better: bool
    measure: Callable[[Example, str, Marker], tuple[float, ...]]
    value: Callable[..., ndarray]
    is_share: bool = False


def accuracy(right: ndarray, axis: int = -1) -> ndarray:
    """Share of right replies, in [0, 1]."""
    return np.asarray(right.mean(axis=axis))


def macro_f1(label: ndarray, given: ndarray, axis: int = -1) -> ndarray:
    r"""Mean of the classes' F1 = 2 TP / (2 TP + FP + FN), in [0, 1].

    label, given: number of the right class and of the named one; -1 for a reply that names none, which
    counts against its right class only. The mean is over the classes that are right or given somewhere
    along the axis, as in scikit-learn; NaN where there is none.
    """
    total, n_classes = 0.0, 0.0
    for number in np.unique(np.concatenate([label.ravel(), given.ravel()])):
        if number == NO_LABEL:
            continue
        right, named = label == number, given == number
        true = (right & named).sum(axis=axis)
        some = right.sum(axis=axis) + named.sum(axis=axis)
        total = total + np.where(some > 0, 2 * true / np.maximum(some, 1), 0.0)
        n_classes = n_classes + (some > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / n_classes)


def word_error_rate(edits: ndarray, words: ndarray, axis: int = -1) -> ndarray:
    """Word edits (insertions, deletions, substitutions) a word of the references; 0 is best."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(edits.sum(axis=axis) / words.sum(axis=axis))


def word_edits(given: str, reference: str) -> tuple[int, int]:
    """Levenshtein distance in words without regard to case, and the reference's number of words.

    >>> word_edits("the cat sat", "The cat sat down")
    (1, 4)
    """
    ours, theirs = given.casefold().split(), reference.casefold().split()
    row = list(range(len(theirs) + 1))
    for n, word in enumerate(ours, start=1):
        diagonal, row[0] = row[0], n
        for m, other in enumerate(theirs, start=1):
            changed = diagonal + (word != other)
            diagonal, row[m] = row[m], min(changed, row[m] + 1, row[m - 1] + 1)
    return row[-1], len(theirs)


def _right(example: Example, reply: str, marker: Marker) -> tuple[float]:
    return (marker.mark(reply, example.question),)


def _classes(example: Example, reply: str, marker: Marker) -> tuple[float, float]:
    if example.label not in example.labels:
        raise ValueError(
            f"metric macro_f1: the label {example.label!r} is not among the classes "
            f"{list(example.labels)}; give the questions a check with labels"
        )
    given = named_label(final_answer(reply), example.labels)
    number = NO_LABEL if given is None else float(example.labels.index(given))
    return float(example.labels.index(example.label)), number


def _edits(example: Example, reply: str, marker: Marker) -> tuple[float, float]:
    edits, words = word_edits(final_answer(reply), example.label)
    return float(edits), float(words)


METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", True, _right, accuracy, is_share=True),
    "macro_f1": Metric("macro_f1", True, _classes, macro_f1),
    "word_error_rate": Metric("word_error_rate", False, _edits, word_error_rate),
}


def get_metric(name: str) -> Metric:
    """The metric of that name; ValueError with the known names otherwise."""
    if name not in METRICS:
        raise ValueError(f"metric={name!r} is unknown; choose from {', '.join(METRICS)}")
    return METRICS[name]
