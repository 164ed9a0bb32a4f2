"""List the runs of a folder, or what all of them found about one task."""

import json
from collections.abc import Sequence
from pathlib import Path

from analyses.running.options import call_with


def main(argv: Sequence[str]) -> None:
    """Run `runs` with options from the command line."""
    call_with(list_runs, argv, prog="lm-merge runs")


def list_runs(
    runs: Path = Path("runs"),
    analysis: str | None = None,
    task: str | None = None,
    export: Path | None = None,
) -> None:
    """List the runs of a folder, or what all of them found about one task.

    Args:
        runs: folder of the run records
        analysis: only the runs of this analysis
        task: the findings about this task, from the summary of every finished run
        export: file for the same rows as JSON
    """
    from rich.console import Console

    from lm_merge.cli.tables import plain_table
    from lm_merge.runs.listing import run_rows, task_rows, tasks_of

    if not runs.is_dir():
        raise OSError(f"runs={str(runs)!r} is no folder; give the one that analyses write to")
    rows = run_rows(runs, analysis) if task is None else task_rows(runs, task, analysis)
    if task is not None and not rows:
        known = ", ".join(tasks_of(runs, analysis)) or "none"
        raise ValueError(
            f"task={task!r}: no finding is about it; there are findings about: {known}"
        )
    if export is not None:
        export.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    table, columns = plain_table(), list(dict.fromkeys(key for row in rows for key in row))
    for name in columns:
        table.add_column(name)
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    Console().print(table if rows else "no runs")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
