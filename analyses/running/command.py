"""The command line of an analysis; its options are known without importing what computes it."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from pydantic import BaseModel, create_model

from analyses import ANALYSES
from analyses.running.measured import Described
from analyses.running.options import OutputOptions, config_in, parse_config
from lm_merge.errors import one_line_errors

Runner = Callable[[str, Any, dict[str, Any], Any], None]  # name, configuration, given, extras


def run_plainly(name: str, config: BaseModel, given: dict[str, Any], extras: Any) -> None:
    """Run an analysis, or find its run, and report it."""
    from analyses.running.command_line import run_and_report  # needs torch, which help does not

    run_and_report(name, config, given, output=extras)


def command(
    name: str,
    argv: Sequence[str] | None = None,
    *,
    prog: str | None = None,
    extras: type[OutputOptions] = OutputOptions,
    using: Runner = run_plainly,
) -> None:
    """Options, one line that says what is measured, then the run, its figures and its summary.

    Errors that a user can mend end with one line and status 2. extras: options that are no part of
    what is computed. using: what is done with the options.
    """
    package = import_module(ANALYSES[name])
    config_class = config_class_of(name)
    with one_line_errors(name):
        options, given = parse_config(
            create_model("Options", __base__=(config_class, extras)),
            argv,
            prog=prog or f"python -m {ANALYSES[name]}",
            description=package.__doc__ or "",
        )
        config = config_in(options, config_class)
        words = config.words if isinstance(config, Described) else ""
        sys.stdout.write(f"{name}: {words}\n")
        using(name, config, given, config_in(options, extras))


def config_class_of(name: str) -> type[BaseModel]:
    """The configuration of an analysis: `<Name>Config` in its module `config`, in camel case."""
    words = "".join(part.capitalize() for part in name.split("_"))
    return getattr(import_module(f"{ANALYSES[name]}.config"), f"{words}Config")
