"""Options of an analysis on the command line, known without importing torch or drawing anything."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from analyses.running.loading_bars import without_loading_bars
from analyses.running.one_line_parser import OneLineParser
from analyses.running.option_names import with_underscores
from lm_merge.errors import one_line

ConfigT = TypeVar("ConfigT", bound=BaseModel)


class OutputOptions(BaseModel):
    """Where results go; no part of what is computed."""

    runs: Path = Field(default=Path("runs"), description="folder of the run records")
    export: Path | None = Field(
        default=None, description="folder for copies: figures as PDF, SVG, PNG, tables as CSV"
    )
    width_in: float | None = Field(
        default=None,
        ge=1,
        le=40,
        description="inches that exported figures are wide, laid out for print: a column has about 3.3, "
        "a page 6.9; None: laid out for a screen",
    )
    fresh: bool = Field(
        default=False,
        description="compute anew even if a finished run has this configuration; answers and "
        "judgments that a run goes on from, too",
    )


def config_in(options: BaseModel, config_class: type[ConfigT]) -> ConfigT:
    """The configuration alone, out of options that also say where results go."""
    return config_class(**{key: getattr(options, key) for key in config_class.model_fields})


def parse_config(
    config_class: type[ConfigT],
    argv: Sequence[str] | None,
    *,
    prog: str,
    description: str,
    positional: Sequence[str] = (),
) -> tuple[ConfigT, dict[str, Any]]:
    """A configuration from the command line, and the part of it that was given.

    Every field is an option, with dashes or underscores in its name; `--config file.yaml` sets fields
    that later options override. positional: required fields that are given without their names.
    """
    without_loading_bars()
    parser = OneLineParser(prog=prog, description=description)
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    for name in positional:
        field = config_class.model_fields[name]
        parser.add_argument(name, type=field.annotation, help=field.description)
    parser.add_class_arguments(config_class, as_group=False, skip=set(positional))
    argv = with_underscores(argv)
    everything = parser.parse_args(argv).as_dict()
    given = parser.parse_args(argv, defaults=False).as_dict()
    for values in (everything, given):
        values.pop("config", None)
    try:
        return config_class(**everything), given
    except ValueError as error:  # a check across fields; parser.error leaves with status 2
        parser.error(one_line(error))


def call_with(function: Callable[..., None], argv: Sequence[str], *, prog: str) -> None:
    """Call a function with arguments from the command line: its parameters are the options.

    Parameters without a default come first and without their names.
    """
    without_loading_bars()
    description = (inspect.getdoc(function) or "").partition("\n\nArgs:")[0]
    parser = OneLineParser(prog=prog, description=description)
    parser.add_function_arguments(function, as_group=False, as_positional=True)
    function(**parser.parse_args(with_underscores(argv)).as_dict())
