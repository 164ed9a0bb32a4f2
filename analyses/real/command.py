"""Command line of `make real`; its options are known without importing torch."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

import analyses.real
from analyses.real.config import RealConfig
from analyses.running.options import OutputOptions, config_in, parse_config
from lm_merge.errors import one_line_errors


class RealOptions(RealConfig, OutputOptions):
    """The configuration and where results go."""

    export: Path | None = Field(
        default=Path("figures/real"), description="folder for figures, tables and summary.json"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run every experiment that has not finished, and write its findings as soon as it has."""
    with one_line_errors("real"):
        options, _ = parse_config(
            RealOptions,
            argv,
            prog="python -m analyses.real",
            description=analyses.real.__doc__ or "",
        )
        config = config_in(options, RealConfig)
        sys.stdout.write(f"real: {config.model}, {', '.join(config.experiments)}\n")
        from analyses.real.writing import write  # needs torch, which help does not

        write(config, output=config_in(options, OutputOptions))
