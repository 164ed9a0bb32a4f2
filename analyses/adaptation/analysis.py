"""What `python -m analyses.adaptation` measures, draws and reports."""

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import cast

import pandas as pd

from analyses.adaptation.answers import answers_table
from analyses.adaptation.attention import attention_table
from analyses.adaptation.config import AdaptationConfig
from analyses.adaptation.items import Encoded, encoded, pairs_of
from analyses.adaptation.kept import KeptBatches
from analyses.adaptation.measuring import measure, texts_of
from analyses.adaptation.tables import (
    contrasts_table,
    items_table,
    projection_table,
    summary_table,
    survival_table,
)
from analyses.comparison.systems import load_system, sources_of
from analyses.running.command_line import Figure, Tables
from analyses.running.findings import Finding
from analyses.running.inputs import origins_of
from figures import (
    plot_adaptation_curves,
    plot_adaptation_forest,
    plot_adaptation_projection,
    plot_adaptation_survival,
)
from lm_merge.evaluation.context_pairs.schema import ContextPair
from lm_merge.runs.record import Run
from lm_merge.spaces import Composed

SUMMARY_KEYS = (
    *("system", "condition", "tau", "n", "adapted_frac", "adapted_low", "adapted_high"),
    *(
        "restricted_mean_latency_tokens",
        "latency_low",
        "latency_high",
        "gap",
        "index_mean",
        "censored",
    ),
)


def run(
    config: AdaptationConfig,
    record: Run | None = None,
    *,
    quiet: bool = True,
    systems: dict[str, Composed] | None = None,
    since: datetime | None = None,
) -> Tables:
    """Tables "summary", "items", "survival", "contrasts", "answers", "tokens"; "projection" and
    "attention", where they are asked for.

    systems: those of the configuration, where the caller has loaded them. Batches of items that an
    interrupted run of the same configuration finished are read, not measured again, unless `since` is
    given.
    """
    pairs = pairs_of(config)
    if record is not None:
        names = origins_of(sources_of(config.named_systems()))
        record.update(device=config.device or "cpu", models=names, seeds=(config.seed,))
    kept = KeptBatches(None if record is None else record.folder.parent, config)
    if since is not None:
        kept.forget()
    parts: list[Tables] = []
    notes: list[str] = []
    for name, source in config.named_systems().items():
        system = None if systems is None else systems[name]
        clock = _Clock(name, len(pairs), quiet)
        for start in range(0, len(pairs), config.batch_size):
            batch = pairs[start : start + config.batch_size]
            found = kept.read(name, start)
            if found is None:
                system = system or load_system(source, device=config.device, dtype=config.dtype)
                found = measured(system, name, batch, config)
                kept.keep(name, start, found)
            parts.append(found)
            clock.tick(len(batch))
        del system
    joined = {key: pd.concat([part[key] for part in parts], ignore_index=True) for key in parts[0]}
    left_out = joined.pop("left_out")
    if len(left_out):
        notes.append(f"{len(left_out)} texts ended before an injection and are left out")
    if record is not None and notes:
        record.update(notes=notes)
    tables = tables_of(joined, config)
    return tables | {"left_out": left_out} if len(left_out) else tables


def measured(
    system: Composed, name: str, pairs: Sequence[ContextPair], config: AdaptationConfig
) -> Tables:
    """Tables of tokens, projections, attention, answers and items left out, of one system and batch."""
    items: list[Encoded] = encoded(system.host, pairs, config)
    texts, left_out = texts_of(system, items, config)
    tokens, projections, attention = measure(system, texts, config)
    found = {"tokens": tokens, "projections": projections, "attention": attention}
    found |= {"answers": answers_table(system.host, texts), "left_out": pd.DataFrame(left_out)}
    return {key: table.assign(system=name) for key, table in found.items()}


def tables_of(joined: Tables, config: AdaptationConfig) -> Tables:
    """Everything that follows from tokens and answers. Raises ValueError where no text is left."""
    tokens, answers = joined["tokens"], joined["answers"]
    if tokens.empty:
        raise ValueError(
            f"every text ended before tau={min(config.taus)} tokens, so there is nothing to inject "
            "into; lower taus, or take items with longer answers"
        )
    items = items_table(tokens, answers.drop(columns="text"), config)
    tables = {
        "summary": summary_table(items, config),
        "items": items,
        "survival": survival_table(items, config),
        "contrasts": contrasts_table(items, config),
        "answers": answers,
        "tokens": tokens,
    }
    if len(joined["projections"]):
        tables["projection"] = projection_table(joined["projections"])
    if len(joined["attention"]):
        tables["attention"] = attention_table(joined["attention"])
    return tables


class _Clock:
    """Progress on standard error, with an estimate of what is left."""

    def __init__(self, name: str, n: int, quiet: bool) -> None:
        self.name, self.n, self.done, self.quiet = name, n, 0, quiet
        self.started = time.monotonic()

    def tick(self, n: int) -> None:
        self.done += n
        if not self.quiet:
            left = (time.monotonic() - self.started) / self.done * (self.n - self.done)
            sys.stderr.write(f"{self.name}: {self.done} of {self.n} items, {left:.0f} s left\n")


def draw(tables: Tables, config: AdaptationConfig) -> list[Figure]:
    """The analysis's figures, each with the table it draws."""
    tokens, summary = tables["tokens"], tables["summary"]
    drawn = [
        ("adaptation_curves", plot_adaptation_curves(tokens), tokens),
        ("adaptation_survival", plot_adaptation_survival(tables["survival"]), tables["survival"]),
        ("adaptation_forest", plot_adaptation_forest(summary), summary),
    ]
    if "projection" in tables:
        table = tables["projection"]
        drawn.append(("adaptation_projection", plot_adaptation_projection(table), table))
    return drawn


def findings(tables: Tables, config: object = None) -> list[Finding]:
    """Rows of `summary.json`, one a system, condition and tau.

    Keys: system, condition, tau, n (items), adapted_frac with adapted_low and adapted_high (95 %),
    restricted_mean_latency_tokens with latency_low and latency_high (95 %), gap (0 as the oracle, 1 as
    if ignored), index_mean (0 to 1), censored (items).
    Null where the contexts cannot be distinguished: a model that copies its own text.
    """
    return [{key: row[key] for key in SUMMARY_KEYS} for row in tables["summary"].to_dict("records")]


def summary(tables: Tables, config: object = None) -> str:
    """One line a system, condition and tau; then the tau with the least latency, if one stands apart."""
    table = tables["summary"]
    lines = []
    for row in table.to_dict("records"):
        if pd.isna(row["adapted_frac"]):
            lines.append(
                f"{row['system']}, {row['condition']}, tau {row['tau']}: undefined, because both "
                f"contexts give the same distributions on these texts, n {row['n']}"
            )
            continue
        gap = "undefined" if pd.isna(row["gap"]) else f"{row['gap']:.3f}"
        lines.append(
            f"{row['system']}, {row['condition']}, tau {row['tau']}: adapted "
            f"{row['adapted_frac']:.2f} ({row['adapted_low']:.2f} to {row['adapted_high']:.2f}), "
            f"restricted mean latency {row['restricted_mean_latency_tokens']:.1f} tokens "
            f"({row['latency_low']:.1f} to {row['latency_high']:.1f}), gap {gap}, n {row['n']}"
        )
    return "\n".join([*lines, *_least(table)])


def _least(table: pd.DataFrame) -> list[str]:
    """Taus whose interval of the latency lies below that of every other."""
    found = []
    for key, rows in table.groupby(["system", "condition"], sort=False):
        system, condition = cast(tuple[str, str], key)
        if len(rows) < 2:
            continue
        ordered = rows.sort_values("restricted_mean_latency_tokens")
        first, others = ordered.iloc[0], ordered.iloc[1:]
        if first["latency_high"] < others["latency_low"].min():
            found.append(f"{system}, {condition}: the least latency is that of tau {first['tau']}")
    return found
