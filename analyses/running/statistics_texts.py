"""Training texts, their labels unread, of which fisher and regmean take statistics."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class StatisticsOptions(BaseModel):
    """Whose texts they are, and how many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_from: Literal["target", "sources", "both"] = Field(
        default="target", description="training texts of which fisher and regmean take statistics"
    )
    n_data: PositiveInt = Field(default=64, description="how many such texts")

    def statistics_texts(
        self, method: str, data: Path, target: str, sources: Sequence[str], seed: int
    ) -> list[str]:
        """The texts, as many of each locale as of the others; none for a method without statistics."""
        from lm_merge.evaluation.massive import read_massive
        from lm_merge.operators.weight_methods import WEIGHT_METHODS

        known = WEIGHT_METHODS.get(method)
        if known is None or known.statistics is None:
            return []
        others = [name for name in sources if name != target]
        chosen = {"target": [target], "sources": others, "both": [target, *others]}[self.data_from]
        texts = read_massive(data, chosen, "train")
        return list(_drawn([texts[name].texts for name in chosen], self.n_data, seed))


def _drawn(lists: Sequence[tuple[str, ...]], n: int, seed: int) -> Iterator[str]:
    """n texts, one locale after another in turn."""
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(texts)).tolist() for texts in lists]
    for number in range(n):
        place, step = number % len(lists), number // len(lists)
        yield lists[place][orders[place][step % len(orders[place])]]
