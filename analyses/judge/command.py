"""Command line of the judge analysis; the options are known without importing torch."""

import sys
from collections.abc import Sequence
from typing import Any

from analyses.judge.config import JudgeConfig, JudgeExtras, estimate
from analyses.running.command import command


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m analyses.judge") -> None:
    """Judge, or only estimate what it would take."""
    command("judge", argv, prog=prog, extras=JudgeExtras, using=estimate_or_run)


def estimate_or_run(
    name: str, config: JudgeConfig, given: dict[str, Any], extras: JudgeExtras
) -> None:
    """Print the estimate where it is asked for, else judge."""
    if extras.estimate:
        sys.stdout.write(estimate(config, extras) + "\n")
        return
    from analyses.judge.analysis import judge_and_report  # needs torch where a model judges

    judge_and_report(config, given, extras)
