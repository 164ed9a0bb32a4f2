"""The `lm-merge` command."""

import time
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

import lm_merge as lm
from analyses import report, similarity
from analyses.command_line import one_line_errors
from lm_merge.zoo.tasks import CATEGORIES


def demo(runs: Path = Path("runs")) -> None:
    """Merge the bundled pair, score it, measure it, and write a report with figures.

    Args:
        runs: folder of the run records; a finished demo is found there and not run again
    """
    disable_progress_bar()  # of loading weights, which takes no time here
    console = Console()
    started = time.monotonic()
    options = report.ReportOptions(runs=runs)
    console.print(
        f"[bold]{options.host}[/bold] takes in [bold]{options.donors[0]}[/bold] "
        f"at block {list(options.layers)[0]}, {options.operator}, alpha 0.25, 0.5, 0.75"
    )
    path, tables = report.write(options, {})
    _show_answers(console, tables)
    _show_accuracy(console, tables)
    console.print(similarity.summary(tables["similarity"]))
    console.print(f"{time.monotonic() - started:.0f} s; open the report:")
    print(path.resolve())


def generate(
    recipe: Path,
    prompt: list[str],
    max_new_tokens: int = 64,
    chat: bool = True,
    device: str | None = None,
    dtype: str | None = None,
) -> None:
    """Continue prompts with the merge that a recipe describes.

    Args:
        recipe: YAML file
        prompt: one or more prompts, for example '["12+34 = ?"]'
        max_new_tokens: tokens to add at most
        chat: put prompts into the host's chat template
        device: torch device; the CPU unless given
        dtype: torch dtype; the checkpoint's unless given
    """
    merge = lm.compose(recipe, device=device, dtype=dtype)
    for text in merge.generate(prompt, chat=chat, max_new_tokens=max_new_tokens):
        print(text)


def _show_answers(console: Console, tables: report.Tables) -> None:
    by_question = [rows for _, rows in tables["answers"].groupby("question", sort=False)]
    question = max(by_question, key=lambda rows: rows.reply.nunique())  # where they differ most
    table = Table(
        title=f"{question.question.iloc[0]}\n(right: {question.answer.iloc[0]})",
        title_justify="left",
    )
    for column in ("system", "reply", "right"):
        table.add_column(column)
    for _, row in question.iterrows():
        table.add_row(str(row["system"]), str(row["reply"]), str(row["right"]))
    console.print(table)


def _show_accuracy(console: Console, tables: report.Tables) -> None:
    accuracy = tables["accuracy"]
    n = accuracy[accuracy.category != "Overall"].n.max()
    table = Table(
        title=f"accuracy (%) on {n} held-out questions a category; intervals: report",
        title_justify="left",
    )
    table.add_column("system", no_wrap=True)
    for category in (*CATEGORIES, "Overall"):
        table.add_column(category, justify="right")
    for system, rows in accuracy.groupby("system", sort=False):
        cells = rows.set_index("category")
        table.add_row(
            str(system),
            *(
                f"{100 * cells.accuracy_frac[category]:.0f}"
                for category in (*CATEGORIES, "Overall")
            ),
        )
    console.print(table)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; errors that a user can mend end with one line and status 2."""
    with one_line_errors("lm-merge"):
        auto_cli([demo, generate], args=None if argv is None else list(argv), prog="lm-merge")


if __name__ == "__main__":
    main()
