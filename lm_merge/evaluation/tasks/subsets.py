"""Which examples of a split are used: drawn once, kept in a file, and named by a tag."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from lm_merge.evaluation.tasks.task import Example, Split, Task, examples_digest

FULL = "full"


class Subset(BaseModel):
    """A part of a split. Without n_max and per_task: all of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_max: PositiveInt | None = Field(
        default=None, description="examples a task at most; None: all"
    )
    per_task: dict[str, PositiveInt] = Field(
        default={}, description="task -> examples at most, in place of n_max"
    )
    seed: NonNegativeInt = Field(default=0, description="of the draw")
    shuffle: bool = Field(default=True, description="draw at random; false: the first ones")
    stratified: bool = Field(
        default=False, description="keep the share of every label, as near as whole numbers allow"
    )

    def n_of(self, task: str) -> int | None:
        """Examples of a task at most; None: all."""
        return self.per_task.get(task, self.n_max)

    def tag(self, task: str) -> str:
        """Name of this choice for a task; scores with different tags are not compared.

        >>> Subset(n_max=64).tag("sums"), Subset().tag("sums")
        ('n64-seed0', 'full')
        """
        n = self.n_of(task)
        if n is None:
            return FULL
        how = f"seed{self.seed}" if self.shuffle else "first"
        return f"n{n}-{how}" + "-stratified" * self.stratified


def subset_examples(
    task: Task, split: Split, subset: Subset, folder: Path | None = None
) -> list[Example]:
    """The examples that a subset takes of a task's split, in the order of the split.

    folder: keeps the indices in one file for task, split and tag, which is read again at the next call;
    None keeps nothing. Raises ValueError for a split without examples, and where the kept file belongs
    to other examples.
    """
    everything = list(task.examples(split))
    if not everything:
        raise ValueError(
            f"task {task.name!r} has no example in split {split!r}; give its questions a `split`"
        )
    tag = subset.tag(task.name)
    if tag == FULL:
        return everything
    if folder is None:
        return [everything[place] for place in _drawn(everything, subset, task.name)]
    folder.mkdir(parents=True, exist_ok=True)
    digest = examples_digest(everything)
    path = folder / f"{_plain(task.name)}-{split}-{tag}-{digest}.json"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            places = _drawn(everything, subset, task.name)
            content = {"task": task.name, "split": split, "tag": tag, "indices": places}
            path.write_text(json.dumps(content) + "\n", encoding="utf-8")
        kept = json.loads(path.read_text(encoding="utf-8"))["indices"]
    return [everything[place] for place in kept]


def _drawn(examples: Sequence[Example], subset: Subset, task: str) -> list[int]:
    n = min(subset.n_of(task) or len(examples), len(examples))
    rng = random.Random(f"{subset.seed} {task}")
    order = rng.sample(range(len(examples)), len(examples)) if subset.shuffle else None
    places = list(range(len(examples))) if order is None else order
    if subset.stratified:
        places = _by_label(places, examples)
    return sorted(places[:n])


def _by_label(places: Sequence[int], examples: Sequence[Example]) -> list[int]:
    """Places so ordered that any first part has every label in about its share of the whole."""
    by_label: dict[str, list[int]] = {}
    for place in places:
        by_label.setdefault(examples[place].label, []).append(place)
    spread = [
        ((number + 0.5) / len(own), label, place)
        for label, own in by_label.items()
        for number, place in enumerate(own)
    ]
    return [place for _, _, place in sorted(spread)]


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
