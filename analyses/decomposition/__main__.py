"""Command line of the decomposition analysis."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from analyses.decomposition.config import DecompositionConfig
from analyses.running.command import command, run_plainly
from analyses.running.options import OutputOptions


class DecompositionExtras(OutputOptions):
    """Where results go, and how far to go."""

    only_target: bool = Field(default=False, description="train and keep the target, then stop")


def train_or_run(
    name: str, config: DecompositionConfig, given: dict[str, Any], extras: DecompositionExtras
) -> None:
    """Only train the target, or run and report the analysis."""
    if extras.only_target:
        from analyses.decomposition.analysis import train_target  # needs torch, which help does not

        train_target(config, extras.runs)
        return
    given = {key: value for key, value in given.items() if key != "only_target"}
    run_plainly(name, config, given, extras)


def main(argv: Sequence[str] | None = None) -> None:
    """Decompose what the arguments name, or find the finished run; draw, save, print the findings."""
    command("decomposition", argv, extras=DecompositionExtras, using=train_or_run)


if __name__ == "__main__":
    main()
