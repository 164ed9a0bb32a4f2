"""What every analysis does around its `run`: arguments, record, resuming, files."""

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import plotly.graph_objects as go
from pydantic import BaseModel
from rich.console import Console
from rich.progress import track

from analyses.running.options import OutputOptions as OutputOptions  # offered here, too
from analyses.running.options import config_in as config_in
from analyses.running.options import parse_config as parse_config
from figures import save_figure
from lm_merge.errors import one_line_errors as one_line_errors  # offered here to every analysis
from lm_merge.runs.lookup import find_finished
from lm_merge.runs.record import Run, read_record, start_run

ItemT = TypeVar("ItemT")
ConfigT = TypeVar("ConfigT", bound=BaseModel)
EXPORT_FORMATS = ("pdf", "svg", "png")
Tables = dict[str, pd.DataFrame]
Figure = tuple[str, go.Figure, pd.DataFrame]  # name, figure, the table that it drew


def progress(items: Iterable[ItemT], what: str, *, quiet: bool) -> Iterable[ItemT]:
    """The items, with a progress bar on standard error that goes when they are done.

    Where that is no terminal, a line says what begins.
    """
    console = Console(stderr=True)
    if quiet or console.is_terminal:
        return track(items, what, disable=quiet, transient=True, console=console)
    sys.stderr.write(f"{what} ...\n")
    return items


def finished_tables(
    root: Path, analysis: str, config: BaseModel, *, since: datetime | None = None
) -> tuple[Path, Tables] | None:
    """Folder and tables of a finished run with this very configuration, or None.

    since: only a run that started at or after it counts.
    """
    folder = find_finished(root, analysis, config)
    if folder is None or (since is not None and read_record(folder).started < since):
        return None
    return folder, {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}


def anew(run: Callable[..., Tables], *, fresh: bool) -> Callable[..., Tables]:
    """A `run` that takes over nothing from before this moment, if `fresh`.

    An analysis that keeps things beside its record (answers, judgments) has an argument `since`.
    """
    if fresh and "since" in inspect.signature(run).parameters:
        return partial(run, since=datetime.now(UTC))
    return run


def run_recorded(
    analysis: str,
    config: ConfigT,
    given: dict[str, Any],
    *,
    output: OutputOptions,
    run: Callable[[ConfigT, Run], Tables],
) -> tuple[Path, Tables]:
    """Tables of an analysis: those of a finished run with this configuration, else of a new run.

    Says on standard error when it found one.
    """
    found = None if output.fresh else finished_tables(output.runs, analysis, config)
    if found is not None:
        again = "fresh=True or --fresh true computes anew"
        sys.stderr.write(f"found the finished run {found[0]} ({again})\n")
        return found
    with start_run(analysis, config, root=output.runs, config_given=given) as record:
        tables = anew(run, fresh=output.fresh)(config, record)
        for name, table in tables.items():
            record.save_table(name, table)
        return record.folder, tables


def run_and_draw(
    analysis: str,
    config: ConfigT,
    given: dict[str, Any],
    *,
    output: OutputOptions,
    run: Callable[[ConfigT, Run], Tables],
    draw: Callable[[Tables], Sequence[Figure]],
) -> tuple[Path, Tables]:
    """`run_recorded`, then the figures beside the tables, and copies where `export` says."""
    folder, tables = run_recorded(analysis, config, given, output=output, run=run)
    figures = draw(tables)
    save_figures(folder, figures, ("html",))
    if output.export is not None:
        save_figures(output.export, figures, EXPORT_FORMATS, width_in=output.width_in)
    return folder, tables


def run_and_say(
    analysis: str,
    config: ConfigT,
    given: dict[str, Any],
    *,
    output: OutputOptions,
    run: Callable[[ConfigT, Run], Tables],
    draw: Callable[[Tables, ConfigT], Sequence[Figure]],
    summary: Callable[[Tables], str],
) -> None:
    """`run_and_draw`, then the summary and where everything lies, on standard output."""
    folder, tables = run_and_draw(
        analysis, config, given, output=output, run=run, draw=lambda tables: draw(tables, config)
    )
    sys.stdout.write(f"{summary(tables)}\ntables and figures: {folder}\n")


def analysis_main(
    analysis: str,
    options_class: type[BaseModel],
    config_class: type[ConfigT],
    argv: Sequence[str] | None,
    *,
    run: Callable[[ConfigT, Run], Tables],
    draw: Callable[[Tables, ConfigT], Sequence[Figure]],
    summary: Callable[[Tables], str],
    description: str | None,
) -> None:
    """The command line of an analysis: arguments, then `run_and_say`.

    options_class: the configuration and `OutputOptions` in one class.
    """
    options, given = parse_config(
        options_class, argv, prog=f"python -m analyses.{analysis}", description=description or ""
    )
    assert isinstance(options, OutputOptions)
    config = config_in(options, config_class)
    run_and_say(analysis, config, given, output=options, run=run, draw=draw, summary=summary)


def save_figures(
    folder: Path,
    figures: Sequence[Figure],
    formats: Sequence[str],
    *,
    width_in: float | None = None,
) -> list[Path]:
    """Save each figure with the table it drew; width_in as in `save_figure`."""
    return [
        path
        for name, figure, table in figures
        for path in save_figure(figure, table, folder, name, formats=formats, width_in=width_in)
    ]
