"""Run the experiments one after the other, and write figures, tables and findings into one folder."""

import json
import sys
from pathlib import Path

from analyses.real.config import RealConfig
from analyses.real.experiments import EXPERIMENTS
from analyses.running.command_line import (
    EXPORT_FORMATS,
    Tables,
    analysis_of,
    run_recorded,
    save_figures,
)
from analyses.running.options import OutputOptions
from lm_merge.runs.summary import SUMMARY_FILE, summary_rows, summary_text

QUESTIONS = "questions"  # folder next to the records


def write(config: RealConfig, *, output: OutputOptions) -> None:
    """Each experiment's results are in the folder as soon as it has finished, whatever comes after."""
    for name in config.experiments:
        of = EXPERIMENTS[name](config, output.runs / QUESTIONS)
        folder, tables = run_recorded(name, of, output=output, quiet=False)
        analysis = analysis_of(name)
        lines = analysis.summary(tables, of)
        sys.stdout.write(f"{name}\n{lines}\ntables: {folder}\n")
        if output.export is None:
            continue
        output.export.mkdir(parents=True, exist_ok=True)
        rows = [{"experiment": name} | dict(row) for row in analysis.findings(tables, of)]
        put_findings(output.export / SUMMARY_FILE, name, rows)
        _save_tables(output.export, name, tables)
        save_figures(
            output.export, analysis.draw(tables, of), EXPORT_FORMATS, width_in=output.width_in
        )


def put_findings(path: Path, name: str, rows: list[dict[str, object]]) -> None:
    """The experiment's rows, in place of those that it has in the file; other experiments' stay."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    kept = [row for row in old if row["experiment"] != name]
    path.write_text(summary_text(summary_rows([*kept, *rows])), encoding="utf-8")


def _save_tables(folder: Path, name: str, tables: Tables) -> None:
    """Each table as CSV, without tables of single texts or tokens, which only the run's record has."""
    for key, table in tables.items():
        if "value" in table.columns:
            stem = name if key == name else f"{name}_{key}"
            table.to_csv(folder / f"{stem}.csv", index=False)
