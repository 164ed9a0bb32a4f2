"""Items of the analysis: pairs of contexts from their source, and as token ids of one system."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from analyses.adaptation.conditions import Condition
from analyses.adaptation.config import AdaptationConfig
from lm_merge.contexts.operations import Injection
from lm_merge.evaluation.context_pairs.bindings import binding_pairs
from lm_merge.evaluation.context_pairs.fairytaleqa import story_pairs
from lm_merge.evaluation.context_pairs.mawps import read_problems
from lm_merge.evaluation.context_pairs.schema import ContextPair, read_pairs
from lm_merge.evaluation.context_pairs.variations import DEFAULT_KINDS, varied_pairs
from lm_merge.generation import prepare
from lm_merge.models import HookedLM

PLAIN = "{context}"
FILLER = "_"  # of the language of bindings: no value
TEMPLATES = {  # source -> around c0, around what is injected
    "bindings": (PLAIN, PLAIN),
    "mawps": ("{context}\n", "\n\nCorrection: {context}\n\n"),
    "fairytaleqa": ("{context}\n", "\n\nCorrection: {context}\n\n"),
}


def pairs_of(config: AdaptationConfig) -> list[ContextPair]:
    """The first `n_items` pairs of the source, drawn by the seed where it has more."""
    source, file = config.items.partition(":")[0], config.items_file
    if file is None:
        return binding_pairs(config.n_items, config.seed)
    if source == "mawps":
        kinds = config.kinds or DEFAULT_KINDS
        return varied_pairs(read_problems(file), config.n_items, kinds=kinds, seed=config.seed)
    everything = story_pairs(file) if source == "fairytaleqa" else read_pairs(file)
    if len(everything) <= config.n_items:
        return everything
    chosen = random.Random(config.seed).sample(range(len(everything)), config.n_items)
    return [everything[place] for place in sorted(chosen)]


@dataclass(frozen=True)
class Encoded:
    """A pair in a system's tokens: both prompts, and what conditions inject."""

    pair: ContextPair
    before: tuple[int, ...]
    after: tuple[int, ...]
    injected: tuple[int, ...]
    original: tuple[int, ...]
    n_shared: int
    filler: int
    neutral: tuple[int, ...]

    def content(self, condition: Condition, config: AdaptationConfig) -> tuple[int, ...]:
        """The tokens that a condition injects; shuffled ones differ from item to item, not by system."""
        if condition.content == "original":
            return self.original
        if condition.content == "injected":
            return self.injected
        kind = config.noise or ("neutral" if self.neutral else "shuffled")
        if kind == "neutral" and not self.neutral:
            raise ValueError(
                f"noise='neutral': pair {self.pair.id!r} has no neutral context; give it one, or "
                "take noise='shuffled'"
            )
        if kind != "shuffled":
            return self.neutral if kind == "neutral" else (self.filler,) * len(self.injected)
        drawn = random.Random(f"{config.seed} {self.pair.id}")
        return tuple(drawn.sample(self.injected, len(self.injected)))

    def injection(
        self,
        condition: Condition,
        emitted: Sequence[int],
        tau: int,
        config: AdaptationConfig,
    ) -> Injection:
        """The injection of a condition into a text, of which `tau` tokens were emitted before."""
        refeed = {"newest": config.refeed, "some": config.partial_refeed, "all": tau}
        return Injection(
            before=self.before,
            after=self.after,
            injected=self.content(condition, config),
            emitted=tuple(emitted),
            tau=tau,
            refeed=min(refeed[condition.refeed], tau),
            n_shared=self.n_shared,
            keep_sink=config.keep_sink,
        )


def encoded(
    host: HookedLM, pairs: Sequence[ContextPair], config: AdaptationConfig
) -> list[Encoded]:
    """Pairs in a model's tokens. What is injected is tokenized alone, without a start token."""
    source = config.items.partition(":")[0]
    own, injected = TEMPLATES.get(source, TEMPLATES["mawps"])
    own = config.prompt_template or (own.rstrip() if config.chat else own)
    injected = config.injection_template or injected
    return [_encoded(host, pair, own, injected, config.chat) for pair in pairs]


def _encoded(host: HookedLM, pair: ContextPair, own: str, template: str, chat: bool) -> Encoded:
    start = f"{pair.prefix}\n\n" if pair.prefix else ""
    prompts = [start + own.format(context=one) for one in (pair.context, pair.alt_context)]
    before, after = (_ids(host, prompt, chat) for prompt in prompts)
    common = next(
        (
            place
            for place, (one, other) in enumerate(zip(before, after, strict=False))
            if one != other
        ),
        min(len(before), len(after)) - 1,
    )
    tokenizer: Any = host.tokenizer
    injected, original, neutral = (
        tuple(tokenizer(template.format(context=one), add_special_tokens=False).input_ids)
        for one in (pair.alt_context, pair.context, pair.neutral)
    )
    n_shared = common if pair.prefix else min(common, 1)
    filler = tokenizer(FILLER, add_special_tokens=False).input_ids[0]
    return Encoded(
        pair,
        before,
        after,
        injected,
        original,
        n_shared,
        filler,
        neutral if pair.neutral else (),
    )


def _ids(host: HookedLM, prompt: str, chat: bool) -> tuple[int, ...]:
    tokens: torch.Tensor = prepare(host.tokenizer, prompt, host.name, chat).input_ids
    return tuple(tokens[0].tolist())
