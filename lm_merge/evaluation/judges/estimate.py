"""What judging costs in tokens, money and hours, from the sizes of the data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lm_merge.evaluation.judges.prompt import JudgePrompt
from lm_merge.evaluation.judges.protocol import Game


@dataclass(frozen=True)
class JudgingEstimate:
    """Games, and tokens read and written, with one reply a game.

    A game without a label in its first reply is asked once more, which at most doubles the reply
    and a little more than doubles the prompt of that game.
    """

    n_games: int
    n_prompt_tokens: int
    n_reply_tokens: int

    def cost(self, price_prompt: float, price_reply: float) -> float:
        """prompt tokens x price + reply tokens x price; prices and cost in one currency, a million."""
        return (self.n_prompt_tokens * price_prompt + self.n_reply_tokens * price_reply) / 1e6

    def endpoint_hours(
        self, seconds_per_call: float, concurrency: int, requests_per_minute: float | None = None
    ) -> float:
        """The longer of games x seconds a call / calls in flight, and games / calls a minute."""
        by_calls = self.n_games * seconds_per_call / concurrency / 3600
        by_rate = 0.0 if requests_per_minute is None else self.n_games / requests_per_minute / 60
        return max(by_calls, by_rate)

    def local_hours(self, prompt_tokens_per_s: float, reply_tokens_per_s: float) -> float:
        """prompt tokens / rate of reading + reply tokens / rate of writing, both of a whole batch."""
        reading = self.n_prompt_tokens / prompt_tokens_per_s
        return (reading + self.n_reply_tokens / reply_tokens_per_s) / 3600


def judging_estimate(
    games: Sequence[Game],
    prompt: JudgePrompt,
    *,
    chars_per_token: float = 3.5,
    reply_tokens: float = 600.0,
) -> JudgingEstimate:
    """What both orders of each game take; `reply_tokens` is what a reply has on average.

    n_prompt = 2 x sum of ceil(characters of the prompt / chars_per_token); n_reply = 2 x games x
    reply_tokens.
    """
    lengths = [sum(len(message["content"]) for message in prompt.messages(game)) for game in games]
    n_prompt = 2 * sum(math.ceil(length / chars_per_token) for length in lengths)
    return JudgingEstimate(2 * len(games), n_prompt, math.ceil(2 * len(games) * reply_tokens))
