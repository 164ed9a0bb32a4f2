"""What a judge is: something that decides which of two responses to a question is better."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

Decision = Literal["A>B", "B>A", "A=B"]
_FLIPPED: dict[Decision, Decision] = {"A>B": "B>A", "B>A": "A>B", "A=B": "A=B"}
_VALUE: dict[Decision, int] = {"A>B": 1, "A=B": 0, "B>A": -1}


@dataclass(frozen=True)
class Game:
    """A question with two responses, in the order in which a judge sees them."""

    question: str
    response_a: str
    response_b: str

    def swapped(self) -> "Game":
        """The same responses in the other order."""
        return replace(self, response_a=self.response_b, response_b=self.response_a)


@dataclass(frozen=True)
class GameJudgment:
    """What a judge made of one game.

    decision: in the order of the game that was judged; None where the judge gave no verdict.
    judgment: how it came to it, plain JSON: judge_model, prompt, response, and what else there is
    (scores, n_prompt_tokens, n_completion_tokens). Never a key.
    """

    decision: Decision | None
    judgment: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Judge(Protocol):
    """Something that judges games.

    `judge_games` yields (index into `games`, judgment) as judgments get done, in any order, every
    game exactly once. How many run at a time is the judge's matter: an endpoint keeps several calls
    in flight, a local model takes a batch. What was yielded is done: a caller writes it down before
    it asks for the next one, and may stop at any time.

        for index, judged in judge.judge_games(games):
            print(games[index].question, judged.decision)

    `name` identifies the judge in output files and tables. `settings` is what decides its
    verdicts (model, template, temperature), plain JSON without secrets: it is kept next to the output,
    and a run with other settings does not go on in the same file.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> dict[str, Any]: ...

    def judge_games(self, games: Sequence[Game]) -> Iterator[tuple[int, GameJudgment]]: ...


def flipped(decision: Decision | None) -> Decision | None:
    """A decision read with the sides swapped; None stays None."""
    return None if decision is None else _FLIPPED[decision]


def decision_value(decision: Decision | None) -> int:
    """A verdict as a number for response A: win +1, loss -1, tie or no verdict 0."""
    return 0 if decision is None else _VALUE[decision]


def judge_both_orders(
    judge: Judge, games: Sequence[Game]
) -> Iterator[tuple[int, tuple[GameJudgment, GameJudgment]]]:
    """Each game judged as given and with the responses swapped; yields when both are done.

    Yields (index, (as given, swapped)). Each decision is in the order that was judged: pass the
    second through `flipped` to compare the two.
    """
    both = [one for game in games for one in (game, game.swapped())]
    waiting: dict[int, GameJudgment] = {}
    for place, judged in judge.judge_games(both):
        other = waiting.pop(place ^ 1, None)  # places 2i and 2i + 1 are one game
        if other is None:
            waiting[place] = judged
        else:
            yield place // 2, (other, judged) if place % 2 else (judged, other)
