"""Answers of one system to a list of prompts, written down batch by batch.

Every system and seed is a run of its own, found again by its configuration. A run that was killed is
gone on with at the batch where it stopped.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd
from pydantic import Field, PositiveInt

from analyses.running.command_line import finished_tables, progress
from analyses.running.measured import Placement
from lm_merge.evaluation.replies import Reply, reply_in_batches
from lm_merge.recipes import ModelSource, Recipe
from lm_merge.runs.lookup import find_runs
from lm_merge.runs.record import Run, start_run
from lm_merge.spaces import Composed

FILE = "answers.jsonl"


class AnswersConfig(Placement):
    """What decides the answers of one system under one seed."""

    system: ModelSource | Recipe = Field(description="a model alone, or a merge")
    inputs: dict[str, str | None] = Field(description="fingerprints of the models")
    prompts_digest: str = Field(description="of the prompts, in order")
    n_prompts: PositiveInt = Field(description="how many there are")
    seed: int | None = Field(description="of the sampling; None: greedy, no seed matters")
    temperature: float = Field(description="0: greedy")
    max_new_tokens: PositiveInt = Field(description="tokens of an answer at most")
    batch_size: PositiveInt = Field(description="prompts at a time")
    stop_ids: tuple[int, ...] = Field(
        default=(), description="ids that end an answer besides the host's own"
    )


def answers_of(
    config: AnswersConfig,
    prompts: Sequence[str],
    load_system: Callable[[], Composed],
    *,
    root: Path | None,
    what: str,
    since: datetime | None = None,
    quiet: bool,
) -> pd.DataFrame:
    """Table of answers: question, reply, n_new_tokens, truncated.

    load_system: called only if an answer is missing. root: folder of the run records; None
    writes nothing down. what: name for the progress bar. since: only answers of runs that started at
    or after it are taken over; None: of any.
    """
    if root is None:
        return pd.DataFrame(_replies(config, prompts, load_system(), what, quiet))
    found = finished_tables(root, "answers", config, since=since)
    if found is not None:
        return found[1]["answers"]
    rows = unfinished_rows(root, config, since)
    with start_run("answers", config, root=root) as record:
        with (record.folder / FILE).open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
            file.flush()
            if len(rows) < len(prompts):
                system = load_system()
                _note(record, config, system)
                for row in _replies(config, prompts, system, what, quiet, start=len(rows)):
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                    rows.append(row)
        record.add_file(record.folder / FILE)
        table = pd.DataFrame(rows)
        record.save_table("answers", table)
    return table


def unfinished_rows(root: Path, config: AnswersConfig, since: datetime | None = None) -> list[dict]:
    """Whole batches that an earlier run of this configuration wrote down before it was stopped."""
    best: list[dict] = []
    for folder, record in find_runs(root, "answers", config):
        path = folder / FILE
        if not path.exists() or (since is not None and record.started < since):
            continue
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines[:-1]]  # what follows the last \n is torn
        whole = len(rows) if len(rows) == config.n_prompts else None
        best = max(
            best, rows[: whole or len(rows) // config.batch_size * config.batch_size], key=len
        )
    return best


def _note(record: Run, config: AnswersConfig, system: Composed) -> None:
    seeds = () if config.seed is None else (config.seed,)
    record.update(
        device=str(system.host.device),
        dtype=str(system.host.dtype).removeprefix("torch."),
        models=config.inputs,  # of any space: what is loaded may be temporary
        seeds=seeds,
        notes=tuple(getattr(system, "notes", ())),
    )


def _replies(
    config: AnswersConfig,
    prompts: Sequence[str],
    system: Composed,
    what: str,
    quiet: bool,
    start: int = 0,
):
    """Rows in the order of the prompts, as they get done."""
    left = list(prompts[start:])
    batches = reply_in_batches(
        system,
        left,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        temperature=config.temperature,
        seed=config.seed or 0,
        stop_ids=config.stop_ids,
    )
    n_batches = -(-len(left) // config.batch_size)
    for place, replies in zip(progress(range(n_batches), what, quiet=quiet), batches, strict=True):
        first = place * config.batch_size
        questions = left[first : first + len(replies)]
        yield from (_row(*pair) for pair in zip(questions, replies, strict=True))


def _row(question: str, reply: Reply) -> dict:
    return {
        "question": question,
        "reply": reply.text,
        "n_new_tokens": reply.n_new_tokens,
        "truncated": reply.truncated,
    }
