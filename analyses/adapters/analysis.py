"""What `python -m analyses.adapters` measures, draws and reports."""

from pathlib import Path
from typing import Any

import pandas as pd

from analyses.adapters.config import AdaptersConfig
from analyses.adapters.recovery_words import recovery_words, undefined_notes, worst_and_mean_words
from analyses.adapters.scoring import baseline_scores, merged_scores, recovery_table
from analyses.adapters.systems import adapter_recipe, base_of, merge_for, saved_system
from analyses.adapters.tasks import tasks_of
from analyses.adapters.tuned import (
    coefficient_file,
    fit_settings,
    fitted_merge,
    sensitivity_table,
)
from analyses.running.command_line import Figure, Tables
from analyses.running.findings import Finding
from analyses.running.inputs import note_models
from figures import plot_recovery_by_task, plot_recovery_sensitivity
from lm_merge.models import HookedLM
from lm_merge.runs.record import Run
from lm_merge.spaces.adapters import AdapterMerge

KEYS = ("task", "metric", "base", "expert", "merged", "recovery", "n", "low", "high", "split")
COLLAPSED = 0.05


def run(config: AdaptersConfig, record: Run | None = None, *, quiet: bool = True) -> Tables:
    """Tables "recovery", "replies", "coefficients", and where they apply "sensitivity" and "seeds".

    With a record, the replies of the base and of each expert become runs of their own next to it, which
    the next evaluation finds; the folder receives `recipe.yaml` and `coefficients.json`.
    """
    root = None if record is None else record.folder.parent
    settings = fit_settings(config.recipe) if config.saved is None else None
    tasks, base = tasks_of(config, config.split, root), base_of(config)
    own, experts = baseline_scores(config, tasks, base, root, quiet=quiet)
    notes: tuple[str, ...] = ()
    fitted, merge = None, None
    if config.saved is not None:
        merged = saved_system(config.saved, base)
    elif settings is not None:
        merge, fitted, notes = fitted_merge(config, settings, base)
        merged = merge
    else:
        merged = merge = merge_for(config.recipe, base)
    scores, replies = merged_scores(config, tasks, merged, base, quiet=quiet)
    table = recovery_table(tasks, scores, own, experts)
    tables: Tables = {"recovery": table, "replies": replies}
    if merge is not None:
        tables["coefficients"] = _coefficients(merge)
        if config.sensitivity and merge.fuses and merge.updates.is_sum:
            tables["sensitivity"] = sensitivity_table(config, merge)
        tables |= _spread(config, base, merge, quiet)
    notes = (*notes, *undefined_notes(table), *_notes(config, table, fitted is not None))
    if record is not None:
        note_models(record, base if merge is None else merge, seeds=config.seeds, notes=notes)
        _save_files(config, record, merge, fitted)
    return tables


def _coefficients(merge: AdapterMerge) -> pd.DataFrame:
    """One row a module and adapter: its coefficient."""
    return pd.DataFrame(
        [
            {"module": key, "source": adapter.name, "coefficient": one}
            for key, row in merge.coefficients.items()
            for adapter, one in zip(merge.adapters, row, strict=True)
        ]
    )


def _spread(config: AdaptersConfig, base: HookedLM, merge: AdapterMerge, quiet: bool) -> Tables:
    """Of a random method: the scores at every seed."""
    method = merge.updates.method.weight_method
    if method is None or not method.random or not config.seeds:
        return {}
    tasks, rows = tasks_of(config, config.split, None), []
    for seed in config.seeds:
        arguments = {**config.recipe.operator_args, "seed": seed}
        seeded = merge_for(config.recipe.with_fields(operator_args=arguments), base)
        scores, _ = merged_scores(config, tasks, seeded, base, quiet=quiet)
        rows += [
            {"task": name, "seed": seed, "merged": one.value, "n": one.n}
            for name, one in scores.items()
        ]
    return {"seeds": pd.DataFrame(rows)}


def _notes(config: AdaptersConfig, table: pd.DataFrame, fitted: bool) -> list[str]:
    """What a reader must know of a fit: that it ended at the base, and on which split it was made."""
    notes = []
    if fitted and (table.recovery.fillna(0) < COLLAPSED).all():
        notes.append(
            f"the fitted merge recovers less than {COLLAPSED} of every task: it is nearly the base; "
            "take objective 'distil'"
        )
    if config.split == "test" and fitted:
        notes.append("coefficients were fitted on dev and measured on test")
    return notes


def _save_files(
    config: AdaptersConfig, record: Run, merge: AdapterMerge | None, fitted: Any
) -> None:
    files: list[Path] = [config.recipe.save(record.folder / "recipe.yaml")]
    if merge is not None:
        content = coefficient_file(config, merge, fitted)
        files.append(content.save(record.folder / "coefficients.json"))
    for path in files:
        record.add_file(path)


def draw(tables: Tables, config: object = None) -> list[Figure]:
    """The analysis's figures, each with the table it draws."""
    drawn = [("recovery_by_task", plot_recovery_by_task(tables["recovery"]), tables["recovery"])]
    if len(tables.get("sensitivity", ())):
        table = tables["sensitivity"]
        drawn.append(("recovery_sensitivity", plot_recovery_sensitivity(table), table))
    return drawn


def findings(tables: Tables, config: object = None) -> list[Finding]:
    """Rows of `summary.json`, one a task.

    Keys: task, metric, base, expert, merged (in the metric), recovery, n (examples), low, high (95 %, of
    recovery), split.
    """
    return [{key: row[key] for key in KEYS} for row in tables["recovery"].to_dict("records")]


def summary(tables: Tables, config: AdaptersConfig) -> str:
    """The worst and the mean recovery, then one line a task; the spread of a random method."""
    table, operator = tables["recovery"], adapter_recipe(config.recipe).operator
    lines = [f"{worst_and_mean_words(table)} ({operator}, {len(table)} tasks, {config.split})"]
    lines += [_line(row) for row in table.to_dict("records")]
    if "seeds" in tables:
        spread = tables["seeds"].groupby("task", sort=False).merged.agg(["min", "max", "std"])
        for task, row in spread.iterrows():
            lines.append(
                f"  {task} over {tables['seeds'].seed.nunique()} seeds: {row['min']:.3f} to "
                f"{row['max']:.3f} (standard deviation {row['std']:.3f})"
            )
    return "\n".join([*lines, *(f"note: {one}" for one in _notes(config, table, _fits(config)))])


def _fits(config: AdaptersConfig) -> bool:
    return config.saved is None and fit_settings(config.recipe) is not None


def _line(row: dict) -> str:
    return (
        f"  {row['task']}: {row['metric']} base {row['base']:.3f}, expert {row['expert']:.3f}, merged "
        f"{row['merged']:.3f}; recovery {recovery_words(row)}, n = {row['n']}"
    )
