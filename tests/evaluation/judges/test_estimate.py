import pytest

from lm_merge.evaluation.judges import Game, JudgePrompt
from lm_merge.evaluation.judges.estimate import JudgingEstimate, judging_estimate

PROMPT = JudgePrompt("{{ question }}{{ answer_a }}{{ answer_b }}", "", "bare")


def test_tokens_are_those_of_both_orders():
    games = [Game("q" * 10, "a" * 20, "b" * 30), Game("q", "a", "b")]
    found = judging_estimate(games, PROMPT, chars_per_token=4.0, reply_tokens=100.0)
    # ceil(60 / 4) + ceil(3 / 4) = 16, in two orders
    assert found == JudgingEstimate(n_games=4, n_prompt_tokens=32, n_reply_tokens=400)


def test_cost_and_hours_by_hand():
    found = JudgingEstimate(n_games=720, n_prompt_tokens=1_000_000, n_reply_tokens=500_000)
    assert found.cost(2.0, 8.0) == 6.0
    assert found.endpoint_hours(10.0, 4) == 0.5  # 720 x 10 / 4 = 1800 s
    assert found.endpoint_hours(10.0, 4, requests_per_minute=6.0) == 2.0  # 120 minutes
    assert found.local_hours(1000.0, 250.0) == pytest.approx(3000 / 3600)
