"""What `python -m analyses.results_summary` computes, draws and reports."""

from collections.abc import Sequence

import pandas as pd

from analyses.results_summary.config import ResultsSummaryConfig
from analyses.results_summary.layout import write_reference_layout
from analyses.results_summary.reading import read_runs
from analyses.running.command_line import Figure, Tables
from analyses.running.findings import Finding
from figures.gains_by_target import plot_gains_by_target
from lm_merge.evaluation.transfer import by_system, contrasts
from lm_merge.runs.record import Run
from lm_merge.statistics.bootstrap import bca_interval

OWN = "own"


def run(config: ResultsSummaryConfig, record: Run, *, quiet: bool = True) -> Tables:
    """All tables; Markdown, and the reference layout where it is asked for, next to them."""
    found = read_runs(config.folder, verbose=config.verbose)
    accuracy = _chosen(found.accuracy, config)
    tables = {
        "accuracy": accuracy,
        "systems": system_table(accuracy),
        "gains": gain_table(accuracy),
        "failures": found.failures,
    }
    path = record.folder / "summary.md"
    path.write_text(markdown(tables), encoding="utf-8")
    record.add_file(path)
    if config.layout == "reference":
        record.add_file(write_reference_layout(found.finished, record.folder / "reference"))
    return tables


def _chosen(accuracy: pd.DataFrame, config: ResultsSummaryConfig) -> pd.DataFrame:
    """Rows of the targets and systems asked for. Raises ValueError for those that are not there."""
    kept = accuracy
    if config.targets is not None:
        _check_there("targets", config.targets, kept.target)
        kept = kept[kept.target.isin(config.targets)]
    if config.systems is not None:
        first = kept.system.str.extract(r"^([^ ,]+)", expand=False)
        _check_there("systems", config.systems, first)
        kept = kept[first.isin(config.systems)]
    return pd.DataFrame(kept).reset_index(drop=True)


def _check_there(option: str, wanted: Sequence[str], there: pd.Series) -> None:
    unknown = sorted(set(wanted) - set(there))
    if unknown:
        known = ", ".join(sorted(set(there)))
        raise ValueError(
            f"{option}: {', '.join(unknown)} are in no finished run; there are {known}"
        )


def system_table(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy of every system over its targets, with its interval, ranked by the mean."""
    wide = by_system(accuracy, partial=True)
    kinds = accuracy.drop_duplicates("system").set_index("system").kind
    rows = []
    for system in wide.columns:
        values = wide[system].dropna().to_numpy(dtype=float)
        low, high = bca_interval(values)
        row = {"system": system, "kind": kinds[system], "mean_accuracy": float(values.mean())}
        rows.append({**row, "low": low, "high": high, "n_targets": len(values)})
    table = pd.DataFrame(rows).sort_values("mean_accuracy", ascending=False, kind="stable")
    return table.assign(rank=range(1, len(table) + 1)).reset_index(drop=True)


def gain_table(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Every system over the own model and over each best source, on the targets that both have."""
    names = list(dict.fromkeys(accuracy.system))
    references = [one for one in names if one == OWN or one.startswith("best_source")]
    parts = [contrasts(accuracy, reference, partial=True) for reference in references]
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["system"])


def markdown(tables: Tables) -> str:
    """The tables of systems, gains and failures as Markdown."""
    shown = []
    for name in ("systems", "gains", "failures"):
        table = tables[name]
        lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|---" * table.shape[1] + "|"]
        for row in table.itertuples(index=False):
            cells = [f"{one:.4f}" if isinstance(one, float) else str(one) for one in row]
            lines.append("| " + " | ".join(cells) + " |")
        shown.append(f"## {name}\n\n" + ("\n".join(lines) if len(table) else "none") + "\n")
    return "\n".join(shown)


def draw(tables: Tables, config: ResultsSummaryConfig) -> list[Figure]:
    """Gains over the own model, where there is one."""
    accuracy = tables["accuracy"]
    if OWN not in set(accuracy.system) or accuracy.system.nunique() < 2:
        return []
    wide = by_system(accuracy, partial=True).reset_index()
    long = wide.melt("target", var_name="system", value_name="accuracy_frac").dropna()
    return [("gains_by_target", plot_gains_by_target(long, OWN), long)]


def findings(tables: Tables, config: ResultsSummaryConfig) -> list[Finding]:
    """Rows of `summary.json`, one a system.

    Keys: system, kind, mean_accuracy, low, high (95 %), n_targets, rank.
    """
    rows = tables["systems"].astype(object).to_dict("records")
    return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in rows]


def summary(tables: Tables, config: ResultsSummaryConfig) -> str:
    """Mean accuracy of every system; failures by name."""
    lines = [
        f"{row['rank']}. {row['system']}: {100 * row['mean_accuracy']:.1f} % "
        f"(n = {row['n_targets']} targets)"
        for row in tables["systems"].to_dict("records")
    ]
    failures = [
        f"failed: {row['target']} {row['weights']} {row['method']}: {row['error']}"
        for row in tables["failures"].to_dict("records")
    ]
    return "\n".join([*lines, *failures])
