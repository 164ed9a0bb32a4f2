"""Merge the bundled pair, score it, measure it, and write a report with figures."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analyses.running.loading_bars import without_loading_bars
from analyses.running.options import call_with

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console

    from analyses.running.command_line import Tables


def main(argv: Sequence[str]) -> None:
    """Run `demo` with options from the command line."""
    call_with(demo, argv, prog="lm-merge demo")


def demo(runs: Path = Path("runs")) -> None:
    """Merge the bundled pair, score it, measure it, and write a report with figures.

    Args:
        runs: folder of the run records; a finished demo is found there and not run again
    """
    from rich.console import Console

    from analyses.report import analysis as report
    from analyses.report.config import ReportConfig
    from analyses.running.options import OutputOptions

    without_loading_bars()
    console = Console()
    started = time.monotonic()
    config = ReportConfig()
    recipe = config.recipe
    console.print(
        f"[bold]{recipe.host}[/bold] takes in [bold]{recipe.donors[0]}[/bold] "
        f"at block {list(recipe.layers or ())[0]}, {recipe.operator}, alpha 0.25, 0.5, 0.75"
    )
    path, tables = report.write(config, output=OutputOptions(runs=runs))
    _show_answers(console, tables)
    _show_accuracy(console, tables["accuracy"], "latents at every alpha")
    _show_accuracy(console, tables["spaces"], "every space")
    console.print(report.summary(tables, config))
    console.print(f"{time.monotonic() - started:.0f} s; open the report:")
    print(path.resolve())


def _show_answers(console: "Console", tables: "Tables") -> None:
    from lm_merge.cli.tables import plain_table, print_titled

    by_question = [rows for _, rows in tables["answers"].groupby("question", sort=False)]
    question = max(by_question, key=lambda rows: rows.reply.nunique())  # where they differ most
    table = plain_table()
    for column in ("system", "reply", "right"):
        table.add_column(column)
    for _, row in question.iterrows():
        table.add_row(str(row["system"]), str(row["reply"]), str(row["right"]))
    print_titled(
        console,
        "Of the examples in the report, the one on which answers differ most:\n"
        f"{question.question.iloc[0]} (right: {question.answer.iloc[0]})",
        table,
    )


def _show_accuracy(console: "Console", accuracy: "DataFrame", what: str) -> None:
    from lm_merge.cli.tables import plain_table, print_titled
    from lm_merge.zoo.tasks import CATEGORIES

    n = accuracy[accuracy.category != "Overall"].n.max()
    table = plain_table()
    table.add_column("system", no_wrap=True)
    for category in (*CATEGORIES, "Overall"):
        table.add_column(category, justify="right")
    for system, rows in accuracy.groupby("system", sort=False):
        percent = 100 * rows.set_index("category").accuracy_frac
        table.add_row(
            str(system),
            *(f"{percent[category]:.0f}" for category in CATEGORIES),
            f"{percent['Overall']:.1f}",  # of several times as many questions
        )
    title = f"{what}: accuracy (%), n = {n} a category (intervals: report)"
    print_titled(console, title, table)
