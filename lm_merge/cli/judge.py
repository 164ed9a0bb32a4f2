"""Judge JudgeBench's pairs by an endpoint, a model or a merge."""

from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """The command line of `analyses.judge`."""
    from analyses.judge.command import main as judge_main

    judge_main(argv, prog="lm-merge judge")
