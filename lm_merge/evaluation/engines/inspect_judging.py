"""Two responses before a judge in Inspect AI: the same prompt, parser and retry as `judges`."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelUsage,
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
TooLong = Literal["error", "no_verdict"]  # what to do with a game that does not fit the context


async def judge_game(
    judge: Model, game: Game, prompt: JudgePrompt, drop_thoughts: bool, too_long: TooLong = "error"
) -> "GameJudgment":
    """A judge's verdict on one game, asked to go on once where its reply holds no label.

    Raises ValueError for a game that leaves no room for a reply, unless too_long is "no_verdict".
    """
    control_tokens = getattr(judge.api, "control_tokens", ())
    talk = Conversation(prompt.messages(game, control_tokens), drop_thoughts)
    about = {"judge_model": str(judge), "template": prompt.name}
    while not talk.finished:
        output = await judge.generate(as_messages(talk.messages), config=GREEDY)
        if output.stop_reason == "model_length" and not output.completion:
            if not talk.replies:
                _require_allowed(too_long, judge, output.usage)
                about["not_asked"] = "the prompt leaves no room for a reply in the model's context"
            break
        usage = output.usage
        talk.read(
            Reply(
                output.completion,
                usage.input_tokens if usage else None,
                usage.output_tokens if usage else None,
            )
        )
    return talk.judged(**about)


async def judge_both_orders(
    judge: Model, game: Game, prompt: JudgePrompt, drop_thoughts: bool, too_long: TooLong = "error"
) -> list["GameJudgment"]:
    """The game as given, then with the responses swapped."""
    return [
        await judge_game(judge, one, prompt, drop_thoughts, too_long)
        for one in (game, game.swapped())
    ]


def _require_allowed(too_long: TooLong, judge: Model, usage: ModelUsage | None) -> None:
    if too_long == "error":
        n_tokens = "" if usage is None else f" of {usage.input_tokens} tokens"
        raise ValueError(
            f"the prompt{n_tokens} leaves no room for a reply in the context of {judge}; give a "
            "shorter template (-T template=FILE), or -T too_long=no_verdict, which counts such games "
            "as without verdict"
        )


def answer_text(judged: list["GameJudgment"]) -> str:
    """Both verdicts in words: "A>B, swapped no verdict"."""
    first, second = (one.decision or "no verdict" for one in judged)
    return f"{first}, swapped {second}"


def replies_text(judged: list["GameJudgment"]) -> str:
    """The judge's replies in both orders, to be read in a viewer."""
    replies = [one.judgment.get("not_asked") or one.judgment["response"] for one in judged]
    return "First order:\n\n{}\n\nSwapped:\n\n{}".format(*replies)


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
