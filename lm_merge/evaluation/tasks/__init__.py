"""Tasks: examples of a dev and a test split, their metric, and what systems score on them."""

from lm_merge.evaluation.tasks.metrics import METRICS, Metric, get_metric
from lm_merge.evaluation.tasks.scores import TaskScore, score_replies
from lm_merge.evaluation.tasks.sources import OwnTask, SkillTask, own_tasks
from lm_merge.evaluation.tasks.subsets import Subset, subset_examples
from lm_merge.evaluation.tasks.task import Example, Split, Task

__all__ = [
    "METRICS",
    "Example",
    "Metric",
    "OwnTask",
    "SkillTask",
    "Split",
    "Subset",
    "Task",
    "TaskScore",
    "get_metric",
    "own_tasks",
    "score_replies",
    "subset_examples",
]
