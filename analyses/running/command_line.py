"""What every analysis does around its `run`: arguments, record, resuming, files."""

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import pandas as pd
import plotly.graph_objects as go
from pydantic import BaseModel
from rich.console import Console
from rich.progress import track

from analyses import ANALYSES
from analyses.running.findings import Finding
from analyses.running.options import OutputOptions
from figures import save_figure
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


class Analysis(Protocol):
    """What a module `analyses.<name>.analysis` offers."""

    def run(self, config: Any, record: Run | None = None, *, quiet: bool = True) -> Tables: ...
    def draw(self, tables: Tables, config: Any) -> Sequence[Figure]: ...
    def summary(self, tables: Tables, config: Any) -> str: ...
    def findings(self, tables: Tables, config: Any) -> Sequence[Finding]: ...


def analysis_of(name: str) -> Analysis:
    """The module that computes an analysis. Raises ValueError for a name that is not listed."""
    if name not in ANALYSES:
        raise ValueError(f"analysis={name!r} is unknown; choose from {', '.join(ANALYSES)}")
    return cast(Analysis, import_module(f"{ANALYSES[name]}.analysis"))


def compute(
    name: str, config: BaseModel, record: Run, *, quiet: bool = True, **arguments: Any
) -> Tables:
    """The tables of an analysis, its findings saved as the record's `summary.json`."""
    analysis = analysis_of(name)
    tables = analysis.run(config, record, quiet=quiet, **arguments)
    record.save_summary(analysis.findings(tables, config))
    return tables


def computing(name: str, *, fresh: bool) -> partial[Tables]:
    """`compute` for an analysis; if `fresh`, it takes over nothing from before this moment.

    An analysis that keeps things next to its record (answers, judgments) has an argument `since`.
    """
    takes_since = "since" in inspect.signature(analysis_of(name).run).parameters
    since = {"since": datetime.now(UTC)} if fresh and takes_since else {}
    return partial(compute, name, **since)


def run_recorded(
    name: str,
    config: ConfigT,
    given: dict[str, Any] | None = None,
    *,
    output: OutputOptions,
    run: Callable[[ConfigT, Run], Tables] | None = None,
    **arguments: Any,
) -> tuple[Path, Tables]:
    """Tables of an analysis: those of a finished run with this configuration, else of a new run.

    A line on standard error reports a run that was found. given: what the user set, for the record.
    run: computes the tables of what is not listed in ANALYSES. arguments: further ones of `run`.
    """
    found = None if output.fresh else finished_tables(output.runs, name, config)
    if found is not None:
        again = "fresh=True or --fresh true computes anew"
        sys.stderr.write(f"found the finished run {found[0]} ({again})\n")
        return found
    run = partial(computing(name, fresh=output.fresh) if run is None else run, **arguments)
    with start_run(name, config, root=output.runs, config_given=given) as record:
        tables = run(config, record)
        for key, table in tables.items():
            record.save_table(key, table)
        return record.folder, tables


def run_and_report(
    name: str,
    config: BaseModel,
    given: dict[str, Any],
    *,
    output: OutputOptions,
    **arguments: Any,
) -> Tables:
    """`run_recorded`; figures next to the tables, and copies where `export` asks for them; then the
    summary and the folder on standard output.
    """
    folder, tables = run_recorded(name, config, given, output=output, quiet=False, **arguments)
    analysis = analysis_of(name)
    export_figures(folder, analysis.draw(tables, config), output)
    summary = analysis.summary(tables, config)
    sys.stdout.write(f"{summary}\ntables and figures: {folder}\n")
    return tables


def export_figures(folder: Path, figures: Sequence[Figure], output: OutputOptions) -> None:
    """Figures as pages in a folder, and as images where `export` asks for them."""
    save_figures(folder, figures, ("html",))
    if output.export is not None:
        save_figures(output.export, figures, EXPORT_FORMATS, width_in=output.width_in)


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
