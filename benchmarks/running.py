"""What every benchmark does around its measurement: arguments, threads, record, tables."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, create_model

from analyses.running.command_line import Tables
from analyses.running.options import OutputOptions, config_in, parse_config
from lm_merge.runs.record import start_run

ConfigT = TypeVar("ConfigT", bound=BaseModel)


def run_benchmark(
    name: str,
    config_class: type[ConfigT],
    measure: Callable[[ConfigT], Tables],
    *,
    description: str,
    argv: Sequence[str] | None,
) -> None:
    """Measure anew (timings are not reused), record, print; copy tables to `--export` if given."""
    options_class = create_model("Options", __base__=(config_class, OutputOptions))
    options: Any
    options, given = parse_config(
        options_class, argv, prog=f"python -m benchmarks.{name}", description=description
    )
    config = config_in(options, config_class)
    torch.set_num_threads(options.n_threads)
    with start_run(f"benchmark_{name}", config, root=options.runs, config_given=given) as run:
        for table_name, table in measure(config).items():
            run.save_table(table_name, table)
            sys.stdout.write(f"{table.to_string(index=False, float_format='{:.3f}'.format)}\n\n")
            if options.export is not None:
                options.export.mkdir(parents=True, exist_ok=True)
                path = options.export / f"{table_name}.csv"
                table.to_csv(path, index=False, float_format="%.6g")
    sys.stdout.write(f"record: {run.folder}\n")
