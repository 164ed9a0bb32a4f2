"""A judge with an answer key: better is what is right."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lm_merge.evaluation.judges.protocol import Decision, Game, GameJudgment


@dataclass(frozen=True)
class AnswerKeyJudge:
    """Compares two responses by whether each is right: a tie where both are, or neither.

    is_right: (question, response) -> whether it is right; None where that cannot be checked, and
    then there is no verdict. key: what the answers are checked against, for the settings.
    """

    is_right: Callable[[str, str], bool | None]
    key: str
    name: str = "answer key"

    @property
    def settings(self) -> dict[str, Any]:
        return {"judge": "answer_key", "key": self.key}

    def judge_games(self, games: Sequence[Game]) -> Iterator[tuple[int, GameJudgment]]:
        """Verdicts in order. See `Judge`."""
        for index, game in enumerate(games):
            right_a = self.is_right(game.question, game.response_a)
            right_b = self.is_right(game.question, game.response_b)
            judgment = {"judge_model": self.name, "right_a": right_a, "right_b": right_b}
            yield index, GameJudgment(_decision(right_a, right_b), judgment)


def _decision(right_a: bool | None, right_b: bool | None) -> Decision | None:
    if right_a is None or right_b is None:
        return None
    if right_a == right_b:
        return "A=B"
    return "A>B" if right_a else "B>A"
