"""The questions of the skill, and what a system scores on them."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from analyses.answers import AnswersConfig, answers_of
from analyses.running.inputs import fingerprints, fingerprints_of
from analyses.running.text_choice import questions_in_turn
from analyses.skill_transfer.config import SkillTransferConfig
from lm_merge.evaluation.marking import KeyedQuestion, Marker
from lm_merge.evaluation.own_questions import own_questions
from lm_merge.evaluation.tasks.metrics import METRICS
from lm_merge.evaluation.tasks.scores import TaskScore
from lm_merge.recipes import ModelSource, Recipe
from lm_merge.spaces import Composed


def inputs_of(system: ModelSource | Recipe) -> dict[str, str | None]:
    """Fingerprints of the models that a system is made of."""
    return fingerprints(system) if isinstance(system, Recipe) else fingerprints_of([system])


@dataclass(frozen=True)
class Answered:
    """What a system scored, and how many of its answers reached the limit on tokens without ending."""

    score: TaskScore
    n_truncated: int


def questions_of(config: SkillTransferConfig) -> list[KeyedQuestion]:
    """The questions, in the order of the file; bundled ones are of every category in turn."""
    if config.questions is not None:
        return own_questions(config.questions)[: config.n_questions]
    return [
        KeyedQuestion(one.prompt, one.category, one.answer)
        for one in questions_in_turn(config.n_questions, config.seed)
    ]


def replies_of(
    config: SkillTransferConfig,
    system: ModelSource | Recipe,
    prompts: list[str],
    load_system: Callable[[], Composed],
    *,
    root: Path | None,
    since: datetime | None,
    what: str,
    max_new_tokens: int,
    quiet: bool,
) -> pd.DataFrame:
    """Greedy replies of a system, as in `answers_of`: a run of their own, found again."""
    cell = AnswersConfig(
        system=system,
        inputs=inputs_of(system),
        prompts_digest=hashlib.sha256(json.dumps(prompts).encode()).hexdigest(),
        n_prompts=len(prompts),
        seed=None,
        temperature=0.0,
        max_new_tokens=max_new_tokens,
        batch_size=config.batch_size,
        stop_ids=config.stop_ids,
        device=config.device,
        dtype=config.dtype,
    )
    return answers_of(cell, prompts, load_system, root=root, what=what, since=since, quiet=quiet)


def answered(name: str, answers: pd.DataFrame, questions: list[KeyedQuestion]) -> Answered:
    """Accuracy of answers, question by question. Raises ValueError for questions without a key."""
    with Marker() as marker:
        marks = [
            marker.mark(reply, question)
            for reply, question in zip(answers.reply, questions, strict=True)
        ]
    right = np.asarray(marks, dtype=float)
    if np.isnan(right).any():
        prompt = questions[int(np.isnan(right).argmax())].prompt
        raise ValueError(f"questions: {prompt[:80]!r} has no answer to check; leave it out")
    score = TaskScore("skill", name, METRICS["accuracy"], (right,), {})
    return Answered(score, int(answers.truncated.sum()))
