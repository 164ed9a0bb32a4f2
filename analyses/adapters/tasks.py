"""The tasks of an evaluation, their examples, and each one's expert."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analyses.adapters.config import TaskOptions
from lm_merge.evaluation.tasks import (
    Example,
    SkillTask,
    Split,
    Subset,
    Task,
    own_tasks,
    subset_examples,
)
from lm_merge.zoo.tasks import SKILLS

SUBSETS = ".subsets"  # folder next to the records that keeps which examples were drawn


@dataclass(frozen=True)
class TaskExamples:
    """A task, the examples that are used of a split, the subset's tag, and the expert's name."""

    task: Task
    examples: Sequence[Example]
    split: Split
    tag: str
    expert: str

    @property
    def prompts(self) -> list[str]:
        """The examples' prompts."""
        return [one.prompt for one in self.examples]


def tasks_of(config: TaskOptions, split: Split, root: Path | None) -> list[TaskExamples]:
    """The tasks that a configuration names, in order, with their examples.

    root: folder of the records, which keeps the drawn subsets. Raises ValueError for no task, a name
    that occurs twice, and a task without an expert among the adapters.
    """
    names = config.tasks or tuple(one for one in config.donor_names if one in SKILLS)
    tasks: list[Task] = [] if config.questions and not config.tasks else [*map(SkillTask, names)]
    if config.questions is not None:
        tasks += own_tasks(config.questions, config.metrics).values()
    if not tasks:
        raise ValueError(
            f"no adapter of {', '.join(config.donor_names)} is named after a bundled skill; give tasks "
            f"(of {', '.join(SKILLS)}), or questions of your own"
        )
    known = [one.name for one in tasks]
    if len(set(known)) < len(known):
        raise ValueError(f"tasks {known}: a name occurs twice; rename a category of the questions")
    unknown = sorted(set(config.experts) - set(known))
    if unknown:
        raise ValueError(f"experts names unknown tasks {unknown}; choose from {', '.join(known)}")
    subset = Subset(**config.subset.model_dump())
    folder = None if root is None else root / SUBSETS
    return [
        TaskExamples(
            task,
            subset_examples(task, split, subset, folder),
            split,
            subset.tag(task.name),
            _expert(config, task.name),
        )
        for task in tasks
    ]


def _expert(config: TaskOptions, task: str) -> str:
    expert = config.experts.get(task, task)
    if expert not in config.donor_names:
        raise ValueError(
            f"task {task!r} has no expert: no adapter has this name; give experts: {{{task}: "
            f"{config.donor_names[0]}}} or another of {', '.join(config.donor_names)}"
        )
    return expert
