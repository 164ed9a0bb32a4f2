"""What `python -m analyses.adapter_search` measures, draws and reports."""

import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress

from analyses.adapter_search.command import KEEP_BYTES, RETRIES
from analyses.adapter_search.config import AdapterSearchConfig
from analyses.adapter_search.warm_start import warm_trials
from analyses.adapters.recovery_words import DASH, recovery_words
from analyses.adapters.systems import base_of, merge_for
from analyses.adapters.tuned import fit_settings
from analyses.running.command_line import Figure, Tables, computing, run_recorded
from analyses.running.findings import Finding
from analyses.running.inputs import note_models
from analyses.running.options import OutputOptions
from analyses.sweep import executor_of
from analyses.sweep_options import Execution
from figures import plot_best_by_trial, plot_recoveries_by_trial
from lm_merge.runs import Trial, search
from lm_merge.runs.record import Run
from lm_merge.spaces.adapters.export import write_adapters
from lm_merge.tuning.search.proposer import Observation, RecoveryProposer
from lm_merge.tuning.search.scores import SCORES
from lm_merge.tuning.search.space import SearchSpace

KEYS = ("trial", "parameters", "recoveries", "score", "status")


def run(
    config: AdapterSearchConfig,
    record: Run,
    *,
    execution: Execution | None = None,
    since: datetime | None = None,
    quiet: bool = True,
) -> Tables:
    """Tables "trials", "recoveries" and "best". since: trials from before it are not taken over."""
    execution = execution or Execution(retries=RETRIES, keep_bytes=KEEP_BYTES)
    warm, notes = warm_trials(config)
    proposer = _proposer(config, warm)
    settings, root = config.search, record.folder.parent
    console = Console(stderr=True)
    with executor_of(execution) as executor, Progress(console=console, disable=quiet) as bar:
        task = bar.add_task("trials", total=settings.budget)
        trials = search(
            "adapters",
            proposer,
            computing("adapters", fresh=False),
            n_trials=settings.budget,
            at_once=execution.at_once or 1,
            root=root,
            executor=executor,
            retries=execution.retries,
            keep_bytes=execution.keep_bytes,
            fresh=since is not None,
            on_trial=lambda trial: bar.advance(task),
        )
    table = trial_table(config, proposer, trials, warm)
    tables: Tables = {"trials": table, "recoveries": _recoveries(table)}
    best = best_row(table, config)
    recipe = config.trial(json.loads(best["parameters"])).recipe
    if config.split == "test":
        notes.append("the merge was chosen on test: its scores there are no measurement")
    elif config.measure_best:
        tables["best"] = _measured(config, recipe, record, quiet)
    record.add_file(recipe.save(record.folder / "best.yaml"))
    base = base_of(config)
    note_models(record, base, seeds=(settings.seed,), notes=notes)
    if config.save_merged:
        _write(config, recipe, record)
    return tables


def _proposer(config: AdapterSearchConfig, warm: Sequence[Observation]) -> RecoveryProposer:
    settings = config.search
    return RecoveryProposer(
        SearchSpace(config.parameters),
        config.trial,
        recoveries_of,
        strategy=settings.type,
        score=SCORES[settings.score],
        nonnegative=settings.constraint_nonnegative,
        n_start=settings.n_start,
        patience=settings.patience,
        seed=settings.seed,
        warm=warm,
    )


def recoveries_of(trial: Trial) -> tuple[float, ...]:
    """Recovery of every task of a trial; ValueError for one that is undefined."""
    undefined = [row["task"] for row in trial.summary if row["recovery"] is None]
    if undefined:
        raise ValueError(
            f"recovery of {', '.join(map(str, undefined))} is undefined: the expert is no better than "
            "the base on these examples; leave the task out, or take more examples (subset.n_max)"
        )
    return tuple(float(row["recovery"]) for row in trial.summary if row["recovery"] is not None)


def trial_table(
    config: AdapterSearchConfig,
    proposer: RecoveryProposer,
    trials: Sequence[Trial],
    warm: Sequence[Observation],
) -> pd.DataFrame:
    """One row a trial, those of earlier searches first.

    Columns: trial (-1: of an earlier search), parameters and recoveries (JSON), score, mean, status,
    warm, error, folder.
    """
    space = proposer.space
    tasks = next((_tasks(trial) for trial in trials if trial.summary), None)
    rows = [
        _row(config, -1, one.values, one.recoveries, tasks, status="finished", warm=True)
        for one in warm
    ]
    for trial, point in zip(trials, proposer.asked, strict=False):
        failed = trial.outcome.status == "failed"
        rows.append(
            _row(
                config,
                trial.number,
                space.values(point),
                None if failed else recoveries_of(trial),
                tasks,
                status="failed" if failed else "finished",
                error=trial.outcome.message,
                folder=None if trial.outcome.folder is None else trial.outcome.folder.name,
            )
        )
    return pd.DataFrame(rows)


def _tasks(trial: Trial) -> list[str]:
    return [str(row["task"]) for row in trial.summary]


def _row(
    config: AdapterSearchConfig,
    number: int,
    values: Any,
    recoveries: tuple[float, ...] | None,
    tasks: list[str] | None,
    *,
    status: str,
    warm: bool = False,
    error: str | None = None,
    folder: str | None = None,
) -> dict[str, object]:
    score = mean = math.nan
    by_task: dict[str, float] = {}
    if recoveries is not None:
        score = float(SCORES[config.search.score](np.array(recoveries)))
        mean = float(np.mean(recoveries))
        names = tasks or [str(number) for number in range(len(recoveries))]
        by_task = dict(zip(names, recoveries, strict=True))
    return {
        "trial": number,
        "parameters": json.dumps(values),
        "recoveries": json.dumps(by_task),
        "score": score,
        "mean": mean,
        "status": status,
        "warm": warm,
        "error": error,
        "folder": folder,
    }


def _recoveries(table: pd.DataFrame) -> pd.DataFrame:
    """One row a trial of this search and task."""
    rows = [
        {"trial": row["trial"], "task": task, "recovery": one}
        for row in table.to_dict("records")
        if not row["warm"]
        for task, one in json.loads(row["recoveries"]).items()
    ]
    return pd.DataFrame(rows, columns=["trial", "task", "recovery"])


def best_row(table: pd.DataFrame, config: AdapterSearchConfig) -> dict[str, Any]:
    """The row of the best merge; ValueError where every trial failed."""
    done = table.loc[table.status != "failed"]
    if done.empty:
        raise ValueError(
            f"all {len(table)} trials failed; the first: {table.error.iloc[0]}. Narrow the space"
        )
    harmful = done.recoveries.map(lambda text: min(json.loads(text).values()) < 0)
    last = harmful & config.search.constraint_nonnegative
    ranked = done.assign(rank=done.score.where(~last, -np.inf))
    best = ranked.sort_values(["rank", "mean"], ascending=False, kind="stable").iloc[0]
    return {str(key): value for key, value in best.to_dict().items()}


def _measured(config: AdapterSearchConfig, recipe: Any, record: Run, quiet: bool) -> pd.DataFrame:
    """The best merge on test."""
    output = OutputOptions(runs=record.folder.parent)
    _, tables = run_recorded(
        "adapters", config.evaluation(recipe, "test"), output=output, quiet=quiet
    )
    return tables["recovery"]


def _write(config: AdapterSearchConfig, recipe: Any, record: Run) -> None:
    """Write the best merge next to the tables."""
    if fit_settings(recipe) is not None:
        raise ValueError(
            "save_merged: the best recipe has fitted coefficients; give the coefficients.json of its "
            "run as its coefficients, and write it with lm-merge adapters"
        )
    folder = record.folder / "merged"
    folder.mkdir()
    write_adapters(merge_for(recipe, base_of(config)), folder, config.form)
    for path in sorted(folder.iterdir()):
        record.add_file(path)


def draw(tables: Tables, config: object = None) -> list[Figure]:
    """The analysis's figures, each with the table it draws."""
    trials, recoveries = tables["trials"], tables["recoveries"]
    drawn = [("recovery_best_by_trial", plot_best_by_trial(trials), trials)]
    if len(recoveries):
        figure = plot_recoveries_by_trial(recoveries)
        drawn.append(("recovery_trials", figure, recoveries))
    return drawn


def findings(tables: Tables, config: AdapterSearchConfig) -> list[Finding]:
    """Rows of `summary.json`: every trial of this search, then the best one, with status "best".

    Keys: trial, parameters and recoveries (JSON texts), score, status (finished, failed, best).
    """
    table = tables["trials"]
    best = {**best_row(table, config), "status": "best"}
    rows = [*table.loc[~table.warm].to_dict("records"), best]
    return [{key: row[key] for key in KEYS} for row in rows]


def summary(tables: Tables, config: AdapterSearchConfig) -> str:
    """The best trial and its recoveries on the split of the search, then on test."""
    table = tables["trials"]
    best = best_row(table, config)
    parameters = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in json.loads(best["parameters"]).items()
    )
    n_failed = int((table.status == "failed").sum())
    own, warm = int((~table.warm).sum()), int(table.warm.sum())
    lines = [
        f"{own} trials ({n_failed} failed, {warm} known before); best: {parameters}",
        f"  {config.split}: {config.search.score} {_score_words(best['score'])}, "
        + ", ".join(f"{task} {one:.2f}" for task, one in json.loads(best["recoveries"]).items()),
    ]
    if "best" in tables:
        rows = tables["best"].to_dict("records")
        measured = [f"{row['task']} {recovery_words(row)}" for row in rows]
        lines.append(f"  test: {', '.join(measured)}")
    return "\n".join(lines)


def _score_words(score: float) -> str:
    if not math.isfinite(score):
        return f"{DASH} (undefined: a recovery is negative)"
    return f"{score:.3f}"
