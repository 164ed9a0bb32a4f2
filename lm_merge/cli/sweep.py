"""Run an analysis over a grid of settings; what is finished is found, so a stopped one goes on."""

from collections.abc import Sequence

from analyses.running.options import parse_config
from analyses.sweep_options import SweepFileOptions


def main(argv: Sequence[str]) -> None:
    """Sweep what a file says; the exit status is the number of failed cells."""
    options, _ = parse_config(
        SweepFileOptions,
        argv,
        prog="lm-merge sweep",
        description=f"{__doc__} The exit status is the number of failed cells.",
        positional=("file",),
    )
    from analyses.sweep import sweep_file

    sweep_file(**dict(options))
