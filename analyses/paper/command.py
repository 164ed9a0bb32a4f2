"""Command line of the paper; its options are known without importing torch."""

import sys
from collections.abc import Sequence

import analyses.paper
from analyses.paper.config import PaperConfig
from analyses.running.options import OutputOptions, config_in, parse_config
from lm_merge.errors import one_line_errors


class PaperOptions(PaperConfig, OutputOptions):
    """The configuration and where results go."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run every experiment, write everything, and print the findings and the folder."""
    with one_line_errors("paper"):
        options, given = parse_config(
            PaperOptions,
            argv,
            prog="python -m analyses.paper",
            description=analyses.paper.__doc__ or "",
        )
        config = config_in(options, PaperConfig)
        sys.stdout.write(f"paper: {config.words}\n")
        from analyses.paper.writing import write  # needs torch, which help does not

        page = write(config, given, output=config_in(options, OutputOptions))
        sys.stdout.write(f"everything: {page.parent}\nreport: {page}\n")
