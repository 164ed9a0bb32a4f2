import pytest

from lm_merge.evaluation.judges import (
    Game,
    GameJudgment,
    Judge,
    decision_value,
    flipped,
    judge_both_orders,
    read_verdict,
)


@pytest.mark.parametrize(
    ("reply", "decision", "unfinished"),
    [
        ("The first is right. [[A>B]]", "A>B", False),
        ("[[A>>B]]", "A>B", False),
        ("[[B>>A]] as I said: [[B>>A]]", "B>A", False),
        ("[[A=B]]", "A=B", False),
        ("[[A>B]] or rather [[B>A]]", None, False),
        ("[[A>>B]] or [[A>B]]", None, False),  # distinct as written
        ("[[A]]", None, False),
        ("[[A<B]]", None, False),
        ("[A>B], A>B, [[a>b]], [[ A>B ]], [[]]", None, True),
        ("", None, True),
    ],
)
def test_verdict_of_a_reply(reply, decision, unfinished):
    verdict = read_verdict(reply)
    assert (verdict.decision, verdict.unfinished) == (decision, unfinished)


def test_flipping_twice_is_nothing_and_turns_the_value():
    for decision in ("A>B", "B>A", "A=B", None):
        assert flipped(flipped(decision)) == decision
        assert decision_value(flipped(decision)) == -decision_value(decision)


class LongerWins:
    """Judges from the last game to the first: order must not matter to a caller."""

    name = "longer"
    settings = {}

    def judge_games(self, games):
        for index in reversed(range(len(games))):
            game = games[index]
            longer_a = len(game.response_a) > len(game.response_b)
            yield index, GameJudgment("A>B" if longer_a else "B>A", {"seen": game.response_a})


def test_both_orders_come_together():
    games = [Game("q", "long", "x"), Game("q", "y", "longer")]
    judge = LongerWins()
    assert isinstance(judge, Judge)
    found = dict(judge_both_orders(judge, games))
    assert set(found) == {0, 1}
    for index, (first, second) in found.items():
        assert first.judgment["seen"] == games[index].response_a
        assert second.judgment["seen"] == games[index].response_b
        assert first.decision == flipped(second.decision)
