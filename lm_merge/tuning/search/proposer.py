"""A proposer for `lm_merge.runs.search`: points of a space, by a strategy, from recoveries by task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray
from pydantic import BaseModel

from lm_merge.runs.trials import Trial
from lm_merge.tuning.search.scores import Score, rank_key, worst
from lm_merge.tuning.search.space import SearchSpace
from lm_merge.tuning.search.strategies import NEEDS_NO_START, STRATEGIES, Seen, sobol

LAST = 3  # proposals that must lie at the best before a search ends early


@dataclass(frozen=True)
class Observation:
    """Values that were tried, and the recovery of each task; None for a trial that failed."""

    values: Mapping[str, Any]
    recoveries: tuple[float, ...] | None


class RecoveryProposer:
    """Proposes points of a space; what it proposes depends on its settings and the trials alone.

    to_config: values -> the configuration of a trial. recoveries_of: a finished trial -> one recovery a
    task. n_start: points of a Sobol sequence before the strategy decides (warm ones count). patience:
    the search ends when so many trials brought no gain and the last proposals lie at the best; None:
    never. warm: observations of earlier searches, known from the start and not computed again.
    """

    def __init__(
        self,
        space: SearchSpace,
        to_config: Callable[[dict[str, Any]], BaseModel],
        recoveries_of: Callable[[Trial], tuple[float, ...]],
        *,
        strategy: str = "composite",
        score: Score = worst,
        nonnegative: bool = False,
        n_start: int = 8,
        patience: int | None = None,
        seed: int = 0,
        warm: Sequence[Observation] = (),
    ) -> None:
        if strategy not in STRATEGIES:
            raise ValueError(
                f"search type {strategy!r} is unknown; choose from {', '.join(STRATEGIES)}"
            )
        self.space, self.to_config, self.recoveries_of = space, to_config, recoveries_of
        self.strategy, self.score, self.nonnegative = strategy, score, nonnegative
        self.n_start, self.patience, self.seed = n_start, patience, seed
        self.asked: list[ndarray] = []
        self.seen: list[tuple[ndarray, tuple[float, ...] | None]] = []
        for one in warm:
            point = space.point(one.values)
            if point is None:
                raise ValueError(f"warm start: {dict(one.values)} is no point of this space")
            self.seen.append((point, one.recoveries))
        self.n_warm = len(self.seen)

    def ask(self) -> BaseModel | None:
        """The next configuration; None where nothing new is left, or the search has come to rest."""
        if self._rests():
            return None
        seen = self._history()
        start = self.strategy not in NEEDS_NO_START and (
            len(self.asked) + self.n_warm < self.n_start or len(seen.points) < 2
        )
        point = (sobol if start else STRATEGIES[self.strategy])(seen)
        if point is None:
            return None
        self.asked.append(point)
        return self.to_config(self.space.values(point))

    def tell(self, trial: Trial) -> None:
        """Take a trial's recoveries; a failed one stays out of the model, and is not proposed again."""
        failed = trial.outcome.status == "failed"
        recoveries = None if failed else self.recoveries_of(trial)
        self.seen.append((self.asked[trial.number], recoveries))

    def rank(self, recoveries: Sequence[float]) -> tuple[float, float]:
        """What this search ranks merges by."""
        return rank_key(recoveries, self.score, self.nonnegative)

    def _history(self) -> Seen:
        done = [(point, one) for point, one in self.seen if one is not None]
        n = len(self.space.parameters)
        n_finished = len(self.seen) - self.n_warm
        everything = [*(point for point, _ in self.seen), *self.asked[n_finished:]]
        return Seen(
            self.space,
            np.array([point for point, _ in done]).reshape(len(done), n),
            np.array([one for _, one in done]) if done else np.zeros((0, 1)),
            np.array(self.asked[n_finished:]).reshape(-1, n),
            taken=frozenset(tuple(point) for point in everything),
            score=self.score,
            seed=self.seed,
            number=len(self.asked),
        )

    def _rests(self) -> bool:
        """No gain over `patience` trials, and the last proposals lie where the best one does."""
        finished = self.seen[self.n_warm :]
        if self.patience is None or len(finished) < max(self.patience, LAST):
            return False
        done = [(point, one) for point, one in self.seen if one is not None]
        ranks = [self.rank(one) for _, one in done]
        if not ranks:
            return False
        best = ranks.index(max(ranks))
        recent = [one for _, one in finished[-self.patience :] if one is not None]
        before = ranks[: len(ranks) - len(recent)]
        if not before or (recent and max(map(self.rank, recent)) > max(before)):
            return False
        return all(self.space.same_place(point, done[best][0]) for point, _ in finished[-LAST:])
