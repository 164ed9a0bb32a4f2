"""The questions of a comparison, every system's answers to them, and their marks."""

import hashlib
import json
import random
from datetime import datetime
from pathlib import Path
from typing import Literal

import pandas as pd

from analyses.answers import AnswersConfig, answers_of
from analyses.comparison.config import ComparisonConfig
from analyses.comparison.systems import System, load_system, sources_of
from analyses.running.inputs import fingerprints_of
from lm_merge.evaluation import judgebench
from lm_merge.evaluation.marking import (
    KeyedQuestion,
    Marker,
    bundled_questions,
    judgebench_questions,
)
from lm_merge.evaluation.own_questions import is_own, own_questions
from lm_merge.zoo.tasks import CATEGORIES


def questions_by_seed(config: ComparisonConfig) -> dict[int, list[KeyedQuestion]]:
    """The questions of every seed.

    Raises ValueError where greedy decoding would give every seed the same answers.
    """
    if config.questions is None:
        return {seed: bundled_questions(config.n_per_category, seed=seed) for seed in config.seeds}
    everything = _questions(config.questions, config.split)
    others = dict.fromkeys(one.category for one in everything if one.category not in CATEGORIES)
    drawn = {}
    for seed in config.seeds:
        rng = random.Random(seed)
        drawn[seed] = []
        for category in (*CATEGORIES, *others):
            of_category = [one for one in everything if one.category == category]
            n = min(config.n_per_category, len(of_category))
            drawn[seed] += sorted(rng.sample(of_category, n), key=everything.index)
    if config.temperature == 0 and len(config.seeds) > 1:
        first, *others = drawn.values()
        if all(other == first for other in others):
            raise ValueError(
                f"seeds={config.seeds}: each draws all {len(first)} questions and decoding is greedy, "
                "so all answers would be equal; give one seed, a temperature, or fewer n_per_category"
            )
    return drawn


def _questions(source: str, split: Literal["gpt", "claude"] | None) -> list[KeyedQuestion]:
    """Questions of a file of one's own, or of JudgeBench's pairs."""
    if not is_own(source):
        return judgebench_questions(judgebench.load_pairs(source, split))
    if split is not None:
        raise ValueError(f"split={split!r} chooses among JudgeBench's pairs; leave it out here")
    return own_questions(source)


def all_answers(
    config: ComparisonConfig,
    questions: dict[int, list[KeyedQuestion]],
    root: Path | None,
    *,
    since: datetime | None,
    quiet: bool,
) -> pd.DataFrame:
    """One row a system, seed and question; a system is loaded once, and only if answers are missing.

    since: as in `answers_of`.
    """
    found = []
    for name, source in config.named_systems().items():
        loaded = []

        def ready(source: System = source, loaded: list = loaded):
            if not loaded:
                loaded.append(load_system(source, device=config.device, dtype=config.dtype))
            return loaded[0]

        for seed, of_seed in questions.items():
            prompts = [question.prompt for question in of_seed]
            cell = AnswersConfig(
                system=source,
                inputs=fingerprints_of(sources_of({name: source})),
                prompts_digest=hashlib.sha256(json.dumps(prompts).encode()).hexdigest(),
                n_prompts=len(prompts),
                seed=seed if config.temperature else None,
                temperature=config.temperature,
                max_new_tokens=config.max_new_tokens,
                batch_size=config.batch_size,
                device=config.device,
                dtype=config.dtype,
            )
            table = answers_of(
                cell,
                prompts,
                ready,
                root=root,
                what=f"{name}, seed {seed}",
                since=since,
                quiet=quiet,
            )
            category = [question.category for question in of_seed]
            found.append(table.assign(system=name, seed=seed, category=category))
    return pd.concat(found, ignore_index=True)


def mark(
    answers: pd.DataFrame, questions: dict[int, list[KeyedQuestion]], marker: Marker
) -> pd.DataFrame:
    """The answers with their marks, in the column right."""
    keyed = {one.prompt: one for of_seed in questions.values() for one in of_seed}
    marks = {
        (reply, question): marker.mark(reply, keyed[question])
        for reply, question in dict.fromkeys(zip(answers.reply, answers.question, strict=True))
    }
    right = [marks[pair] for pair in zip(answers.reply, answers.question, strict=True)]
    columns = ["system", "seed", "category", "question", "reply", "right"]
    return answers.assign(right=right).loc[:, [*columns, "n_new_tokens", "truncated"]]
