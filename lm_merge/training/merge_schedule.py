"""When rounds merge: after fixed or adaptive intervals, on a plateau, until too many merges failed."""

from collections.abc import Mapping, Sequence
from typing import Any

from lm_merge.training.rounds_settings import RoundsSettings
from lm_merge.training.triggers import MERGE_ABOVE, Curves, every, next_interval, plateau


class MergeSchedule:
    """Asked once after every epoch, in order."""

    def __init__(self, settings: RoundsSettings) -> None:
        self._settings, self._interval, self._since = settings, settings.merge_every, 0

    def wants_merge(
        self,
        epoch: int,
        curves: Sequence[Curves],
        score: float,
        merges: Sequence[Mapping[str, Any]],
    ) -> bool:
        """Whether an epoch, counted from 1, ends with a merge. merges: rows of those before."""
        settings = self._settings
        self._since += 1
        wanted = every(epoch, self._interval)
        if settings.adaptive:
            wanted = self._since >= self._interval or score > MERGE_ABOVE
        if settings.performance_merge_trigger:
            wanted |= plateau(curves, settings.convergence_threshold)
        most = settings.max_merge_attempts
        if not wanted or (most is not None and _failures_in_a_row(merges) >= most):
            return False
        self._since = 0
        if settings.adaptive:
            self._interval = next_interval(self._interval, score)
        return True


def _failures_in_a_row(merges: Sequence[Mapping[str, Any]]) -> int:
    accepted = [number for number, row in enumerate(merges, 1) if row["accepted"]]
    return len(merges) - (accepted[-1] if accepted else 0)
