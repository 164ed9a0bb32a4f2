"""What a comparison would take, in tokens, hours and money, before anything is loaded."""

import sys
from collections.abc import Sequence
from typing import Any

from pydantic import Field, NonNegativeFloat, PositiveFloat

from analyses.comparison.config import ComparisonConfig
from analyses.comparison.systems import System, opposed
from analyses.judge.config import JudgeConfig, pairs_of, prompt_of
from analyses.running.command import run_plainly
from analyses.running.options import OutputOptions, config_in
from lm_merge.evaluation.judges import Game
from lm_merge.evaluation.judges.estimate import JudgingEstimate, judging_estimate
from lm_merge.recipes import Recipe


class ComparisonExtras(OutputOptions):
    """Where results go, and the numbers that an estimate uses."""

    estimate: bool = Field(
        default=False, description="only say what it would take, in tokens, money and hours"
    )
    answer_tokens: PositiveFloat = Field(default=600.0, description="mean answer, in tokens")
    tokens_per_s: PositiveFloat = Field(
        default=500.0, description="new tokens a second of one model, all of a batch together"
    )
    chars_per_token: PositiveFloat = Field(default=3.5, description="characters of a token")
    judge_reply_tokens: PositiveFloat = Field(default=600.0, description="mean reply of the judge")
    seconds_per_call: PositiveFloat = Field(default=10.0, description="of an endpoint")
    price_prompt: NonNegativeFloat = Field(
        default=0.0, description="of a million prompt tokens of the judge"
    )
    price_reply: NonNegativeFloat = Field(
        default=0.0, description="and of a million of its replies"
    )


def estimate_or_run(
    name: str, config: ComparisonConfig, given: dict[str, Any], extras: ComparisonExtras
) -> None:
    """Print the estimate where it is asked for, else run the comparison."""
    if not extras.estimate:
        return run_plainly(name, config, given, config_in(extras, OutputOptions))
    from analyses.comparison.answers import questions_by_seed  # needs torch, which help does not

    prompts = [one.prompt for of_seed in questions_by_seed(config).values() for one in of_seed]
    systems = config.named_systems()
    n_pairs = len(config.pairs or opposed(systems))
    sys.stdout.write(estimate(extras, systems, prompts, n_pairs, config.judge) + "\n")


def estimate(
    options: ComparisonExtras,
    systems: dict[str, System],
    prompts: Sequence[str],
    n_pairs: int,
    judge: JudgeConfig | None,
) -> str:
    """Lines with the numbers and their formulas. prompts: of all seeds; n_pairs: of systems."""
    whole = [_models_run(source) for source in systems.values()]
    n_tokens = len(prompts) * len(systems) * options.answer_tokens
    hours = len(prompts) * options.answer_tokens * sum(whole) / options.tokens_per_s / 3600
    lines = [
        f"{len(systems)} systems x {len(prompts):,} questions (all seeds): "
        f"{len(systems) * len(prompts):,} answers",
        f"new tokens {n_tokens:,.0f} (answers x {options.answer_tokens:g})",
        f"hours of generation {hours:.2f} (new tokens x models run each, at most, "
        f"{sum(whole)} in {len(systems)} systems / {options.tokens_per_s:g} a second)",
    ]
    if judge is None:
        return "\n".join([*lines, "judge: the answer key, which costs nothing"])
    prompt = prompt_of(judge)
    reply = "x" * round(options.answer_tokens * options.chars_per_token)
    answers = [Game(question, reply, reply) for question in prompts for _ in range(n_pairs)]
    labelled = [pair.game() for pair in pairs_of(judge)]
    for what, games in (("answers", answers), ("labelled pairs", labelled)):
        found = judging_estimate(
            games,
            prompt,
            chars_per_token=options.chars_per_token,
            reply_tokens=options.judge_reply_tokens,
        )
        lines.append(_judging_line(found, what, options, judge))
    return "\n".join(
        [*lines, "equal answers are not judged; no price or rate given counts as none"]
    )


def _models_run(source: System) -> int:
    """Models that run for every token, at most: all of a latent merge or an ensemble, else one."""
    if isinstance(source, Recipe) and source.space != "weights":
        return 1 + len(source.donors)
    return 1


def _judging_line(
    found: JudgingEstimate, what: str, options: ComparisonExtras, judge: JudgeConfig
) -> str:
    line = (
        f"judging of {what}: {found.n_games:,} games, {found.n_prompt_tokens:,} prompt and "
        f"{found.n_reply_tokens:,} reply tokens"
    )
    if judge.endpoint is None:
        hours = found.n_reply_tokens / options.tokens_per_s / 3600
        return f"{line}, {hours:.2f} hours (reply tokens / {options.tokens_per_s:g} a second)"
    given = judge.endpoint
    hours = found.endpoint_hours(
        options.seconds_per_call, given.concurrency, given.requests_per_minute
    )
    cost = found.cost(options.price_prompt, options.price_reply)
    return f"{line}, {hours:.2f} hours, cost {cost:.2f}"
