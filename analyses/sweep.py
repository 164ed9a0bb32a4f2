"""An analysis over a grid of settings: `python -m analyses.sweep --config sweeps/operators.yaml`.

The file names an analysis, settings that all cells share, and lists of values:

    analysis: similarity
    recipe: recipes/bundled.yaml
    base: {n_prompts: 32}
    grid:
      recipe.operator: [lerp, slerp]
      recipe.layers: [[3], [5]]

`parts`, a list of {base, grid}, gives several such grids in one sweep; each is on top of the file's
own base and grid, and where both have an entry the part's is taken.

Every combination is a run of that analysis with a record of its own; one that is finished already is
found, so a sweep that was stopped goes on where it was, and several processes may share one. The
tables of all cells are collected, each row with the grid's values. A cell that fails is recorded and
the others go on; the exit status is the number of failed cells (at most 100; 2 may also say that the
arguments were wrong, and then nothing ran).
"""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from analyses.running.command_line import Tables, computing, run_recorded
from analyses.running.loading_bars import without_loading_bars
from analyses.running.options import OutputOptions, config_in, parse_config
from analyses.sweep_cells import SweepConfig, configs_of, labels_of
from analyses.sweep_options import Execution
from lm_merge.errors import one_line_errors
from lm_merge.recipes import read_mapping
from lm_merge.runs import (
    CellOutcome,
    Executor,
    InTurn,
    cell_table,
    collect,
    on_ray,
    sweep,
)
from lm_merge.runs.record import Run

MAX_STATUS = 100


class SweepOptions(SweepConfig, Execution, OutputOptions):
    """The sweep, how to run it, and where results go."""


class CellsFailed(Exception):
    """Some cells failed; all others are done and recorded."""

    def __init__(self, failed: Sequence[CellOutcome], n_cells: int) -> None:
        lines = [f"{len(failed)} of {n_cells} cells failed:"]
        for outcome in failed:
            assert outcome.error is not None
            lines.append(f"  {outcome.folder}: {outcome.error.strip().splitlines()[-1]}")
        super().__init__("\n".join(lines))
        self.n_failed = len(failed)


def run(config: SweepConfig, record: Run, *, options: SweepOptions, quiet: bool = True) -> Tables:
    """The tables of all cells by name, and "cells": a row each. Raises CellsFailed after the last."""
    configs, labels = configs_of(config), labels_of(config)
    console = Console(stderr=True)
    with executor_of(options) as executor, Progress(console=console, disable=quiet) as bar:
        task = bar.add_task(config.analysis, total=len(configs))
        outcomes = sweep(
            config.analysis,
            configs,
            computing(config.analysis, fresh=options.fresh),
            root=options.runs,
            executor=executor,
            at_once=options.at_once,
            retries=options.retries,
            keep_bytes=options.keep_bytes,
            fresh=options.fresh,
            on_outcome=lambda outcome: bar.advance(task),
        )
    tables = collect(outcomes, labels) | {"cells": cell_table(outcomes, labels)}
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        for name, table in tables.items():
            record.save_table(name, table)
        raise CellsFailed(failed, len(outcomes))
    return tables


def executor_of(options: Execution) -> AbstractContextManager[Executor]:
    """The executor that the options ask for, to be entered."""
    if options.ray or options.ray_address is not None:
        cpus = 1.0 if options.cpus is None else options.cpus
        gpus = 0.0 if options.gpus is None else options.gpus
        return on_ray(options.ray_address, cpus=cpus, gpus=gpus)
    if options.cpus is not None or options.gpus is not None:
        raise ValueError(
            f"cpus={options.cpus}, gpus={options.gpus} are what a cell holds on Ray: "
            "give ray or ray_address too; without Ray a cell has the whole machine"
        )
    return nullcontext(InTurn())


def execute(options: SweepOptions, given: dict[str, Any]) -> None:
    """Sweep, collect, and say where the tables are; exits with the number of failed cells."""
    config = config_in(options, SweepConfig)
    without_loading_bars()  # the sweep has its own
    try:
        folder, tables = run_recorded(
            "sweep", config, given, output=options, run=partial(run, options=options, quiet=False)
        )
    except CellsFailed as failed:
        sys.stderr.write(f"sweep: {failed}\n")
        sys.exit(min(failed.n_failed, MAX_STATUS))
    if options.export is not None:
        export_tables(tables, options.export)
    names = ", ".join(f"{name} ({len(tables[name])} rows)" for name in sorted(tables))
    sys.stdout.write(f"{len(tables['cells'])} cells of {config.analysis}: {names}\n")
    sys.stdout.write(f"tables: {folder}\n")


def export_tables(tables: Tables, folder: Path) -> None:
    """Copies as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)


def sweep_file(file: Path, **options: Any) -> None:
    """Sweep what a YAML file says; `options` are fields of `SweepOptions` besides."""
    content = read_mapping(file, "sweep")
    unknown = sorted(set(content) - set(SweepConfig.model_fields))
    if unknown:
        raise ValueError(
            f"{file}: {', '.join(unknown)} is unknown; choose from "
            f"{', '.join(SweepConfig.model_fields)}"
        )
    execute(SweepOptions(**content, **options), content)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: sweep what the arguments say."""
    options, given = parse_config(
        SweepOptions, argv, prog="python -m analyses.sweep", description=__doc__ or ""
    )
    execute(options, given)


if __name__ == "__main__":
    with one_line_errors("sweep"):
        main()
