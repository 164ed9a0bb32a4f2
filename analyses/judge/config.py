"""Which pairs and which judge `analyses.judge` works on, and what it would take."""

import random
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, computed_field, model_validator

from analyses.running.measured import Placement
from analyses.running.options import OutputOptions
from lm_merge.evaluation.judgebench import HUB_NAME, Pair, ReplayJudge, load_pairs
from lm_merge.evaluation.judges import EndpointJudge, EndpointSettings, Judge, JudgePrompt
from lm_merge.evaluation.judges.estimate import judging_estimate
from lm_merge.recipes import Recipe
from lm_merge.runs.identity import fingerprint

JUDGES = ("endpoint", "system", "replay")


class JudgeConfig(Placement):
    """Which pairs, which judge, asked how."""

    data: str = Field(
        description=f"pairs: JSONL file, folder of such files, or {HUB_NAME} for the hub's"
    )
    split: Literal["gpt", "claude"] | None = Field(
        default=None, description="pairs whose responses are GPT-4o's or Claude 3.5 Sonnet's; all"
    )
    n_pairs: PositiveInt | None = Field(
        default=None, description="number of pairs, drawn at random by `seed`; None: all"
    )
    seed: int = Field(default=0, description="of the pairs drawn and of the bootstrap")
    endpoint: EndpointSettings | None = Field(
        default=None, description="judge behind an OpenAI-compatible endpoint"
    )
    system: str | None = Field(
        default=None, description="judge that runs here: a recipe (.yaml), or a model as in lm.load"
    )
    replay: Path | None = Field(
        default=None, description="judge that is recorded: output file in the official schema"
    )
    template: Path | None = Field(
        default=None,
        description="Jinja file of what the judge is asked, with question (or prompt), answer_a, "
        "answer_b; None: our own",
    )
    template_system: Path | None = Field(
        default=None, description="Jinja file of the system turn that belongs to `template`"
    )
    batch_size: PositiveInt = Field(
        default=8, description="games at a time of a judge that runs here"
    )
    max_new_tokens: PositiveInt = Field(
        default=1024, description="tokens of a reply at most, of a judge that runs here"
    )
    too_long: Literal["error", "no_verdict"] = Field(
        default="error", description="what to do with games beyond the context of a judge here"
    )
    drop_thoughts: bool = Field(
        default=False,
        description="read the verdict only behind </think>; a departure from official",
    )
    others: tuple[Path, ...] = Field(
        default=(), description="output files of further judges, for the figures and agreement"
    )

    @model_validator(mode="after")
    def _one_judge(self) -> "JudgeConfig":
        given = [name for name in JUDGES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one judge of {', '.join(JUDGES)}, not {given or 'none'}")
        if self.template_system is not None and self.template is None:
            raise ValueError("template_system belongs to a template; give that too")
        return self

    @property
    def words(self) -> str:
        """What is measured, in one line."""
        (judge,) = [name for name in JUDGES if getattr(self, name) is not None]
        named = self.endpoint.model if self.endpoint is not None else self.system or self.replay
        n = "all" if self.n_pairs is None else self.n_pairs
        return f"{judge} {named} on {n} pairs of {self.data}"

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of all files that go in."""
        files = [self.replay, self.template, self.template_system, *self.others]
        if self.data != HUB_NAME:
            files.append(Path(self.data))
        found = {str(file): fingerprint(file) for file in files if file is not None}
        return found if self.system is None else found | system_inputs(self.system)


class JudgeExtras(OutputOptions):
    """Where results go, and the numbers that an estimate uses."""

    out: Path | None = Field(
        default=None, description="JSONL of the judgments; None: under `runs`, by judge and pairs"
    )
    cache: Path | None = Field(
        default=None,
        description="SQLite file of an endpoint's replies, used even if `fresh`; None: under `runs`",
    )
    price_prompt: float | None = Field(
        default=None, ge=0, description="price of a million prompt tokens"
    )
    price_reply: float | None = Field(
        default=None, ge=0, description="price of a million reply tokens"
    )
    estimate: bool = Field(
        default=False, description="only print the expected tokens, price and hours"
    )
    chars_per_token: PositiveFloat = Field(default=3.5, description="for the estimate")
    reply_tokens: PositiveFloat = Field(default=600.0, description="mean reply, for the estimate")
    seconds_per_call: PositiveFloat = Field(
        default=10.0, description="seconds a call of an endpoint, for the estimate"
    )
    prompt_tokens_per_s: PositiveFloat = Field(
        default=8000.0,
        description="prompt tokens a second of a local judge, whole batch, for the estimate",
    )
    reply_tokens_per_s: PositiveFloat = Field(
        default=250.0,
        description="reply tokens a second of a local judge, whole batch, for the estimate",
    )


def judgments_file(runs: Path, name: str, since: datetime | None) -> Path:
    """Where judgments go and later runs go on from; a new file where nothing older counts."""
    return runs / "judgments" / f"{name}{_stamp(since)}.jsonl"


def cache_file(runs: Path, since: datetime | None) -> Path:
    """Where an endpoint's replies are kept; a file of its own where nothing older counts."""
    return runs / f"judge_cache{_stamp(since)}.sqlite"


def _stamp(since: datetime | None) -> str:
    return "" if since is None else f"-{since:%Y%m%dT%H%M%S%fZ}"


def pairs_of(config: JudgeConfig) -> list[Pair]:
    """The pairs to judge, in the order of the files."""
    pairs = load_pairs(config.data, config.split)
    if config.n_pairs is None:
        return pairs
    if config.n_pairs > len(pairs):
        raise ValueError(f"n_pairs={config.n_pairs}, but there are {len(pairs)}; ask for fewer")
    drawn = random.Random(config.seed).sample(range(len(pairs)), config.n_pairs)
    return [pairs[index] for index in sorted(drawn)]


def prompt_of(config: JudgeConfig) -> JudgePrompt:
    """Our own prompt, or the templates given."""
    if config.template is None:
        return JudgePrompt()
    return JudgePrompt.load(config.template, config.template_system)


def judge_of(config: JudgeConfig, cache: Path) -> Judge:
    """The judge that a configuration names; loads models."""
    prompt, drop_thoughts = prompt_of(config), config.drop_thoughts
    if config.endpoint is not None:
        return EndpointJudge(
            config.endpoint, cache=cache, prompt=prompt, drop_thoughts=drop_thoughts
        )
    if config.replay is not None:
        return ReplayJudge(config.replay)
    assert config.system is not None  # checked by the config
    from lm_merge.evaluation.judges.local import LocalJudge
    from lm_merge.spaces.compose import system

    return LocalJudge(
        system(config.system, device=config.device, dtype=config.dtype),
        prompt=prompt,
        batch_size=config.batch_size,
        max_new_tokens=config.max_new_tokens,
        too_long=config.too_long,
        drop_thoughts=drop_thoughts,
    )


def estimate(config: JudgeConfig, options: JudgeExtras) -> str:
    """What the configuration would take, with the formulas; no judge is asked."""
    pairs, prompt = pairs_of(config), prompt_of(config)
    found = judging_estimate(
        [pair.game() for pair in pairs],
        prompt,
        chars_per_token=options.chars_per_token,
        reply_tokens=options.reply_tokens,
    )
    lines = [
        f"{len(pairs)} pairs in both orders: {found.n_games:,} games (template {prompt.name})",
        f"prompt tokens {found.n_prompt_tokens:,} (characters / {options.chars_per_token:g})",
        f"reply tokens {found.n_reply_tokens:,} (games x {options.reply_tokens:g})",
    ]
    if options.price_prompt is not None and options.price_reply is not None:
        cost = found.cost(options.price_prompt, options.price_reply)
        lines.append(
            f"cost {cost:.2f} (prompt x {options.price_prompt:g} + reply x {options.price_reply:g}, "
            "a million)"
        )
    if config.endpoint is not None:
        given = config.endpoint
        hours = found.endpoint_hours(
            options.seconds_per_call, given.concurrency, given.requests_per_minute
        )
        formula = f"games x {options.seconds_per_call:g} s / {given.concurrency} in flight"
        if given.requests_per_minute is not None:
            formula += f", no more than {given.requests_per_minute:g} a minute"
        lines.append(f"hours {hours:.2f} ({formula})")
    if config.system is not None:
        hours = found.local_hours(options.prompt_tokens_per_s, options.reply_tokens_per_s)
        lines.append(
            f"hours {hours:.2f} (prompt / {options.prompt_tokens_per_s:g} a second + "
            f"reply / {options.reply_tokens_per_s:g} a second, all of a batch together)"
        )
    lines.append("a game without a verdict label is asked once more, which about doubles it")
    return "\n".join(lines)


def system_inputs(system: str) -> dict[str, str | None]:
    """Fingerprints of a recipe and of every model that it names, or of one model."""
    from analyses.running.inputs import (
        fingerprints,  # needs torch, which an endpoint as judge does not
    )

    if Path(system).suffix in (".yaml", ".yml"):
        return fingerprints(Recipe.load(system), Path(system))
    return fingerprints(Recipe(space="logits", host=system, donors=(system,)))
