"""One experiment from start to end: target, training, tables, summary."""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from analyses.decomposition.config import DecompositionConfig
from analyses.decomposition.drawing import draw as draw
from analyses.decomposition.tables import component_tables, published_table
from analyses.running.command_line import Tables
from lm_merge.decomposition.evaluation import METRICS, evaluate
from lm_merge.decomposition.fit import Fit
from lm_merge.decomposition.registry import Experiment, experiment
from lm_merge.decomposition.saving import write_tensors
from lm_merge.decomposition.targets.build import build_target
from lm_merge.runs.identity import config_hash
from lm_merge.runs.record import Run
from lm_merge.threads import fit_threads

TARGETS, CHECKPOINTS = "decomposition-targets", ".decomposition-checkpoints"
SUMMARY_KEYS = {
    "solved": "solved",
    "mmcs": "mmcs",
    "ml2r": "ml2r",
    "n_live": "n_live",
    "pattern_error_01": "pattern_error_01",
    "pattern_error_02": "pattern_error_02",
    "mse_stochastic": "reconstruction_stochastic",
    "ci_l0": "ci_l0",
    "faithfulness": "faithfulness",
}


def run(config: DecompositionConfig, record: Run, *, quiet: bool = True) -> Tables:
    """The tables of one experiment; goes on from the last checkpoint of this configuration."""
    unknown = sorted(set(config.metrics) - set(METRICS))
    if unknown:
        raise ValueError(f"metrics: {unknown} are unknown; choose from {', '.join(METRICS)}")
    made = experiment(config.experiment, config.preset, config.fit, config.target)
    fit_threads(0)  # the matrices are small: threads would wait for each other
    root = record.folder.parent
    notes: list[str] = []
    target = build_target(made.target, root / TARGETS, device=config.device, note=notes.append)
    record.update(seeds=config.seeds, notes=notes, device=config.device or "cpu")
    fit = Fit(target, made.fit, config.seeds)
    checkpoint = root / CHECKPOINTS / f"{config_hash(config)}.safetensors"
    fit.run(
        on_eval=partial(note_metrics, made=made, metrics=config.metrics, quiet=quiet),
        checkpoint=checkpoint,
    )
    path = record.folder / "decomposition.safetensors"
    write_tensors(path, saved(fit), {"experiment": made.model_dump(mode="json")})
    record.add_file(path)
    metrics = pd.DataFrame(fit.history)
    checkpoint.unlink(missing_ok=True)
    summary = pd.DataFrame(summary_rows(made, metrics, fit))
    tables = {"metrics": metrics, "summary": summary, "published": published_table(summary)}
    return tables | component_tables(fit.decomposition, made.target.expected)


def note_metrics(
    fit: Fit,
    losses: Mapping[str, Tensor],
    *,
    made: Experiment,
    metrics: tuple[str, ...],
    quiet: bool,
) -> None:
    """Add the losses and metrics of this step to the history, and say how far the training is."""
    values = {f"loss {name}": one.tolist() for name, one in losses.items()}
    expected = made.target.expected
    values |= evaluate(fit.decomposition, expected, alive=fit.alive(), metrics=metrics)
    for metric, by_seed in values.items():
        for seed, value in zip(fit.decomposition.seeds, by_seed, strict=True):
            row = {"seed": seed, "step": fit.step_number, "metric": metric, "value": value}
            fit.history.append(row)
    if not quiet:
        solved = values.get("solved")
        outcome = f", {int(sum(solved))} of {len(solved)} seeds solved" if solved else ""
        sys.stderr.write(
            f"{made.name}: step {fit.step_number} of {fit.settings.steps}, "
            f"{fit.cpu_seconds:.0f} CPU seconds{outcome}\n"
        )


def summary_rows(made: Experiment, metrics: pd.DataFrame, fit: Fit) -> list[dict[str, object]]:
    """The findings, a row for each seed."""
    last: Any = metrics[metrics.step == metrics.step.max()]
    n_seeds = len(fit.decomposition.seeds)
    rows: list[dict[str, object]] = []
    for seed in fit.decomposition.seeds:
        own = last[last.seed == seed].set_index("metric").value
        values = {key: _plain(key, own.get(metric)) for key, metric in SUMMARY_KEYS.items()}
        named = {"experiment": made.name, "preset": made.preset, "seed": seed}
        spent = {"steps": fit.step_number, "cpu_s": fit.cpu_seconds / n_seeds}
        rows.append({**named, **values, **spent})
    return rows


def _plain(key: str, value: Any) -> object:
    if value is None:
        return None
    if key == "solved":
        return bool(value)
    return int(value) if key.startswith(("n_", "pattern_")) else float(value)


def saved(fit: Fit) -> dict[str, Tensor]:
    """Components and gates, and the target's matrices under `target.`."""
    layers = fit.decomposition.target.layers
    weights = {f"target.{name}": layer.weight for name, layer in layers.items()}
    return {**fit.decomposition.tensors, **weights}


def summary(tables: Tables, config: object = None) -> str:
    """The findings in a few lines, for a terminal."""
    rows: Any = tables["summary"]
    name, n = rows.experiment.iloc[0], len(rows)
    lines = [f"{name}, {rows.preset.iloc[0]}, {rows.steps.iloc[0]} steps, n = {n} seeds:"]
    if rows.solved.notna().all():
        lines[0] += f" {int(rows.solved.sum())} solved"
    for key in SUMMARY_KEYS:
        values = rows[key].dropna()
        if key != "solved" and len(values):
            lines.append(
                f"  {key}: median {values.median():.4g} ({values.min():.4g} to {values.max():.4g})"
            )
    return "\n".join([*lines, f"  {rows.cpu_s.mean():.1f} CPU seconds a seed"])


def train_target(config: DecompositionConfig, runs: Path) -> None:
    """Train and keep the target, and print where it is."""
    made = experiment(config.experiment, config.preset, config.fit, config.target)
    build_target(made.target, runs / TARGETS, device=config.device, note=_say)
    sys.stdout.write(f"target: {runs / TARGETS}\n")


def findings(tables: Tables, config: object = None) -> list[dict[str, object]]:
    """Rows of `summary.json`, one a seed. Keys: those that the package's docstring names."""
    rows = tables["summary"].to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
