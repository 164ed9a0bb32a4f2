"""Scores of base, experts and merge on the tasks, and what the merge recovers."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from analyses.adapters.config import TaskOptions
from analyses.adapters.systems import base_source, expert_recipe, merge_for
from analyses.adapters.tasks import TaskExamples
from analyses.answers import AnswersConfig, answers_of
from analyses.running.inputs import fingerprints, fingerprints_of
from lm_merge.evaluation.recovery import Recovery, recovery
from lm_merge.evaluation.tasks import TaskScore, score_replies
from lm_merge.models import HookedLM
from lm_merge.recipes import ModelSource, Recipe
from lm_merge.spaces import Composed

Scores = dict[str, TaskScore]  # by task


def baseline_scores(
    config: TaskOptions,
    tasks: Sequence[TaskExamples],
    base: HookedLM,
    root: Path | None,
    *,
    quiet: bool = True,
) -> tuple[Scores, Scores]:
    """Scores of the base and of each task's expert: computed once, then found next to the records."""
    own, experts = {}, {}
    for one in tasks:
        name = one.task.name
        table = _replies(config, one, base_source(config), lambda: base, root, "base", quiet)
        own[name] = _score(config, one, list(table.reply), "base", base)
        recipe = expert_recipe(config, one.expert)
        ready: Callable[[], Composed] = lambda recipe=recipe: merge_for(recipe, base)  # noqa: E731
        table = _replies(config, one, recipe, ready, root, one.expert, quiet)
        experts[name] = _score(config, one, list(table.reply), one.expert, base)
    return own, experts


def merged_scores(
    config: TaskOptions,
    tasks: Sequence[TaskExamples],
    merged: Composed,
    base: HookedLM,
    *,
    quiet: bool = True,
) -> tuple[Scores, pd.DataFrame]:
    """Scores of a merge, and its replies: task, prompt, label, reply, n_new_tokens, truncated."""
    scores, tables = {}, []
    for one in tasks:
        source = base_source(config)  # of nothing: these replies are kept with the run alone
        table = _replies(config, one, source, lambda: merged, None, "merge", quiet)
        scores[one.task.name] = _score(config, one, list(table.reply), "merge", base)
        labels = [example.label for example in one.examples]
        tables.append(table.assign(task=one.task.name, label=labels))
    columns = ["task", "question", "label", "reply", "n_new_tokens", "truncated"]
    return scores, pd.concat(tables, ignore_index=True).loc[:, columns]


def recovery_table(
    tasks: Sequence[TaskExamples], merged: Scores, base: Scores, experts: Scores
) -> pd.DataFrame:
    """One row a task: the three scores, recovery and both gains with 95 % intervals, split, subset."""
    rows = []
    for one in tasks:
        name = one.task.name
        found = recovery(merged[name], base[name], experts[name])
        rows.append(_row(one, found, merged[name], base[name], experts[name]))
    return pd.DataFrame(rows).astype({"reason": object})


def _row(
    one: TaskExamples, found: Recovery, merged: TaskScore, base: TaskScore, expert: TaskScore
) -> dict[str, object]:
    gains = {
        f"{name}_gain{end}": getattr(gain, key)
        for name, gain in (("merged", found.merged_gain), ("expert", found.expert_gain))
        for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
    return {
        "task": found.task,
        "metric": merged.metric.name,
        "base": base.value,
        "expert": expert.value,
        "merged": merged.value,
        "recovery": found.value,
        "n": found.n,
        "low": found.low,
        "high": found.high,
        "split": one.split,
        "subset": one.tag,
        "expert_name": one.expert,
        "higher_is_better": merged.metric.higher_is_better,
        **gains,
        "reason": found.reason,
    }


def _score(
    config: TaskOptions, one: TaskExamples, replies: list[str], system: str, base: HookedLM
) -> TaskScore:
    template = str(getattr(base.tokenizer, "chat_template", None))
    replied = {
        "decoding": "greedy",
        "max_new_tokens": str(_length(config, one)),
        "template": hashlib.sha256(template.encode()).hexdigest()[:12],
    }
    return score_replies(
        one.task,
        one.examples,
        replies,
        system=system,
        split=one.split,
        tag=one.tag,
        replied=replied,
    )


def _length(config: TaskOptions, one: TaskExamples) -> int:
    return one.task.max_new_tokens or config.max_new_tokens


def _replies(
    config: TaskOptions,
    one: TaskExamples,
    source: ModelSource | Recipe,
    ready: Callable[[], Composed],
    root: Path | None,
    system: str,
    quiet: bool,
) -> pd.DataFrame:
    """Greedy replies to a task's prompts: found next to the records, or made and kept there."""
    cell = AnswersConfig(
        system=source,
        inputs=fingerprints(source) if isinstance(source, Recipe) else fingerprints_of([source]),
        prompts_digest=hashlib.sha256(json.dumps(one.prompts).encode()).hexdigest(),
        n_prompts=len(one.prompts),
        seed=None,
        temperature=0.0,
        max_new_tokens=_length(config, one),
        batch_size=config.batch_size,
        stop_ids=config.stop_ids,
        device=config.device,
        dtype=config.dtype,
    )
    what = f"{one.task.name}, {system}"
    return answers_of(cell, one.prompts, ready, root=root, what=what, quiet=quiet)
