"""What `python -m analyses.component_merge` measures, draws and reports."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analyses.component_merge.components import component_rows, planted_rows, save_adapter
from analyses.component_merge.config import ComponentMergeConfig
from analyses.component_merge.methods import FUNCTIONS, RANDOM, Updates
from analyses.component_merge.scoring import Row, Scorer, SkillScorer, scorer_of
from analyses.component_merge.trained import fits, tuned_weights, updates_of
from analyses.running.command_line import Figure, Tables
from analyses.running.findings import Finding
from figures.component_merge import plot_component_merge
from lm_merge.runs.record import Run
from lm_merge.threads import fit_threads

COLUMNS = ["method", "seed", "scale", "skill", "value", "low", "high", "n"]
COLUMNS += ["recovery", "recovery_low", "recovery_high", "reason"]


def run(config: ComponentMergeConfig, record: Run, *, quiet: bool = True) -> Tables:
    """The tables "merges", "dev", "components" and, for the toy, "planted". Keeps checkpoints."""
    fit_threads(0)  # the matrices are small: threads would wait for each other
    root = record.folder.parent
    record.update(seeds=config.seeds)
    scorer = scorer_of(config)
    merges: list[Row] = []
    dev: list[Row] = []
    parts: list[Row] = []
    planted: list[Row] = []
    scales: dict[str, float] = {}
    for seed in config.seeds:
        trained = fits(config, root, seed)
        updates = updates_of(config, scorer.base, trained, seed)
        experts = dict(zip(map(str, config.tuned), map(tuned_weights, trained), strict=True))
        if not scales:
            scales = _chosen_scales(config, scorer, updates, dev)
            merges += _labelled(scorer.rows(scorer.base, experts), "base", None, None)
            for name, weights in experts.items():
                merges += _labelled(scorer.rows(weights, experts), name, None, None)
        for method in config.methods:
            if method in RANDOM or seed == config.seeds[0]:
                weights = FUNCTIONS[method](updates, scales[method])
                merges += _labelled(scorer.rows(weights, experts), method, seed, scales[method])
        parts += component_rows(config, updates, seed)
        planted += planted_rows(config, updates, trained, seed)
        if isinstance(scorer, SkillScorer) and "components" in config.methods:
            scorer.put(scorer.base)
            save_adapter(config, record, scorer.model, trained, scales["components"], seed)
    tables = {
        "merges": pd.DataFrame(merges).reindex(columns=COLUMNS),
        "dev": pd.DataFrame(dev),
        "components": pd.DataFrame(parts),
    }
    return tables | ({"planted": pd.DataFrame(planted)} if planted else {})


def _chosen_scales(
    config: ComponentMergeConfig, scorer: Scorer, updates: Updates, dev: list[Row]
) -> dict[str, float]:
    """The best scale of each method on dev, the smaller one where two are equal."""
    chosen = {}
    for method in config.methods:
        values = {
            scale: scorer.mean(FUNCTIONS[method](updates, scale), "dev")
            for scale in sorted(config.scales)
        }
        dev += [{"method": method, "scale": s, "value": value} for s, value in values.items()]
        chosen[method] = max(values, key=values.__getitem__)
    return chosen


def _labelled(rows: list[Row], method: str, seed: int | None, scale: float | None) -> list[Row]:
    return [{"method": method, "seed": seed, "scale": scale, **row} for row in rows]


def draw(tables: Tables, config: object = None) -> Sequence[Figure]:
    """Scores by skill and method."""
    table = tables["merges"]
    return [("component_merge", plot_component_merge(table), table)]


def findings(tables: Tables, config: object = None) -> list[Finding]:
    """Rows of `summary.json`. Keys: method, seed, scale, skill, value, low, high, n, recovery,
    recovery_low, recovery_high, reason; null where there is no value.
    """
    rows: Any = tables["merges"].astype(object)
    return rows.where(rows.notna(), None).to_dict("records")


def summary(tables: Tables, config: object = None) -> str:
    """Mean score over all skills by method, and recovery where it is defined."""
    table: Any = tables["merges"]
    lines = []
    for method, rows in table.groupby("method", sort=False):
        n_seeds = max(1, rows.seed.nunique())
        by_skill = rows.groupby("skill", sort=False).value.mean()
        least = f"least {by_skill.min():.3f} ({by_skill.idxmin()})"
        scale = "" if rows.scale.isna().all() else f", scale {rows.scale.iloc[0]:g}"
        lines.append(f"{method}{scale}, n = {n_seeds} seeds: mean {by_skill.mean():.3f}, {least}")
        recovered = rows[rows.recovery.notna()].groupby("skill", sort=False).recovery.mean()
        if len(recovered) and scale:
            values = ", ".join(f"{skill} {value:.3f}" for skill, value in recovered.items())
            lines.append(f"  recovery: {values}")
    return "\n".join(lines)
