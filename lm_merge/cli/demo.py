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
    from analyses.running.options import OutputOptions
    from lm_merge.recipes import Recipe


def main(argv: Sequence[str]) -> None:
    """Run `demo` with options from the command line."""
    call_with(demo, argv, prog="lm-merge demo")


def demo(runs: Path = Path("runs"), questions: Path | None = None) -> None:
    """Merge the bundled pair, score it, measure it, and write a report with figures.

    Args:
        runs: folder of the run records; a finished demo is found there and not run again
        questions: JSONL of own questions (prompt, answer, category, check) to ask, too
    """
    from rich.console import Console

    from analyses.report import analysis as report
    from analyses.report.config import ReportConfig
    from analyses.running.options import OutputOptions
    from lm_merge.evaluation.own_questions import own_questions

    without_loading_bars()
    if questions is not None:
        own_questions(questions)  # a line that does not fit is reported before anything runs
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
    if questions is not None:
        _show_own_accuracy(console, questions, recipe, OutputOptions(runs=runs))
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


def _show_own_accuracy(
    console: "Console", questions: Path, recipe: "Recipe", output: "OutputOptions"
) -> None:
    """Host, donor and merge on the questions of a file."""
    from analyses.comparison.config import ComparisonConfig
    from analyses.running.command_line import run_recorded

    systems = {"host": recipe.host, "donor": recipe.donors[0], "merge": recipe}
    config = ComparisonConfig(systems=systems, questions=str(questions), seeds=(0,))
    _, tables = run_recorded("comparison", config, output=output)
    accuracy = tables["accuracy"]
    categories = [one for one in dict.fromkeys(accuracy.category) if one != "Overall"]
    n = accuracy.loc[accuracy.category == "Overall"].n.max()
    title = f"questions of {questions}: accuracy (%), n = {n} (intervals: analyses.comparison)"
    _show_by_category(console, accuracy, categories, title)


def _show_accuracy(console: "Console", accuracy: "DataFrame", what: str) -> None:
    from lm_merge.zoo.tasks import CATEGORIES

    n = accuracy[accuracy.category != "Overall"].n.max()
    title = f"{what}: accuracy (%), n = {n} a category (intervals: report)"
    _show_by_category(console, accuracy, CATEGORIES, title)


def _show_by_category(
    console: "Console", accuracy: "DataFrame", categories: Sequence[str], title: str
) -> None:
    from lm_merge.cli.tables import plain_table, print_titled

    table = plain_table()
    table.add_column("system", no_wrap=True)
    for category in (*categories, "Overall"):
        table.add_column(category, justify="right")
    for system, rows in accuracy.groupby("system", sort=False):
        percent = 100 * rows.set_index("category").accuracy_frac
        table.add_row(
            str(system),
            *(f"{percent[category]:.0f}" for category in categories),
            f"{percent['Overall']:.1f}",  # of several times as many questions
        )
    print_titled(console, title, table)
