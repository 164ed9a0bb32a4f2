"""Two responses before a judge in Inspect AI: the same prompt, parser and retry as `judges`."""

from typing import TYPE_CHECKING, Any

import numpy as np
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
)

from lm_merge.evaluation.judges import Decision, Game, JudgePrompt, decision_value, flipped
from lm_merge.evaluation.judges.conversation import Conversation, Reply
from lm_merge.evaluation.pairwise import summarise

if TYPE_CHECKING:
    from lm_merge.evaluation.judges import GameJudgment

_MESSAGES = {
    "system": ChatMessageSystem,
    "user": ChatMessageUser,
    "assistant": ChatMessageAssistant,
}
GREEDY = GenerateConfig(temperature=0.0)


async def judge_game(
    judge: Model, game: Game, prompt: JudgePrompt, drop_thoughts: bool
) -> "GameJudgment":
    """A judge's verdict on one game, asked to go on once where its reply holds no label."""
    control_tokens = getattr(judge.api, "control_tokens", ())
    talk = Conversation(prompt.messages(game, control_tokens), drop_thoughts)
    while not talk.finished:
        output = await judge.generate(as_messages(talk.messages), config=GREEDY)
        usage = output.usage
        talk.hear(
            Reply(
                output.completion,
                usage.input_tokens if usage else None,
                usage.output_tokens if usage else None,
            )
        )
    return talk.judged(judge_model=str(judge), template=prompt.name)


async def judge_both_orders(
    judge: Model, game: Game, prompt: JudgePrompt, drop_thoughts: bool
) -> list["GameJudgment"]:
    """The game as it stands, then with the responses swapped."""
    return [await judge_game(judge, one, prompt, drop_thoughts) for one in (game, game.swapped())]


def both_decisions(judged: list["GameJudgment"]) -> tuple[Decision | None, Decision | None]:
    """Both verdicts in the order of the first game."""
    first, second = judged
    return first.decision, flipped(second.decision)


def as_messages(messages: list[dict[str, str]]) -> list[ChatMessage]:
    """A conversation in Inspect's types."""
    return [_MESSAGES[one["role"]](content=one["content"]) for one in messages]


def load_prompt(template: str | None, system_template: str | None) -> JudgePrompt:
    """Our own prompt, or templates from files."""
    if template is None:
        if system_template is not None:
            raise ValueError("system_template needs template, the file of the question's template")
        return JudgePrompt()
    return JudgePrompt.load(template, system_template)


def pairwise_values(decisions: tuple[Decision | None, Decision | None]) -> dict[str, Any]:
    """What a pair adds to each rate of `pairwise`, from the point of view of response A; u: win rate."""
    first, second = (
        np.array([np.nan if one is None else float(decision_value(one))]) for one in decisions
    )
    rates = summarise(first, second)
    return {
        "u": rates.win_rate,
        "win": rates.win_frac,
        "tie": rates.tie_frac,
        "loss": rates.loss_frac,
        "order_gap": rates.order_gap,
        "none": rates.none_frac,
    }
