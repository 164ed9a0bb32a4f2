"""What a system scored on a task, with everything that a comparison of two scores needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lm_merge.evaluation.marking import Marker
from lm_merge.evaluation.tasks.metrics import Columns, Metric, get_metric
from lm_merge.evaluation.tasks.task import Example, Split, Task, examples_digest


@dataclass(frozen=True)
class TaskScore:
    """A system's score on one task's examples.

    columns: the metric's numbers, one row an example. settings: split, tag of the subset, digest of
    the examples, and how replies were made (decoding, prompt template); scores with other settings are
    not comparable.
    """

    task: str
    system: str
    metric: Metric
    columns: Columns
    settings: dict[str, str]

    @property
    def value(self) -> float:
        """The metric; NaN where an example could not be marked."""
        return float(self.metric.value(*self.columns))

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.columns[0])


def score_replies(
    task: Task,
    examples: Sequence[Example],
    replies: Sequence[str],
    *,
    system: str,
    split: Split,
    tag: str,
    replied: dict[str, str] | None = None,
) -> TaskScore:
    """The score of a system's replies to a task's examples, in their order.

    replied: how the replies were made (decoding, template), for `TaskScore.settings`.
    """
    if len(replies) != len(examples):
        raise ValueError(f"{len(replies)} replies to {len(examples)} examples of {task.name!r}")
    metric = get_metric(task.metric)
    with Marker() as marker:
        rows = [
            metric.measure(example, reply, marker)
            for example, reply in zip(examples, replies, strict=True)
        ]
    columns = tuple(np.asarray(column, dtype=float) for column in zip(*rows, strict=True))
    settings = {"split": split, "subset": tag, "examples": examples_digest(examples)}
    return TaskScore(task.name, system, metric, columns, settings | (replied or {}))
