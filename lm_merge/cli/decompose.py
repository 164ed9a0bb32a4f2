"""Decompose weights into components: experiments by name, all of them unless some are named."""

from collections.abc import Sequence
from pathlib import Path

from analyses.running.options import call_with
from lm_merge.decomposition.registry import EXPERIMENTS, Preset


def decompose(
    names: list[str],
    seeds: list[int] | None = None,
    preset: Preset = "delta",
    fit: dict | None = None,
    runs: Path = Path("runs"),
    report: bool = True,
) -> None:
    """Run experiments one after another, each a cell of a sweep, then write one page of all figures.

    A finished experiment is found and not run again; a stopped one goes on from its checkpoint. The exit
    status is the number of failed experiments.

    Args:
        names: experiments
        seeds: random starts, trained side by side; 0 to 4 unless given
        preset: delta or paper
        fit: settings of the decomposition that differ from the preset's
        runs: folder of the run records
        report: write report.html with the figures of all experiments
    """
    from analyses.decomposition.several import decompose_several

    decompose_several(
        names,
        seeds=tuple(range(5) if seeds is None else seeds),
        preset=preset,
        fit=fit or {},
        runs=runs,
        report=report,
    )


def main(argv: Sequence[str]) -> None:
    """The command line."""
    words = list(argv)
    n_names = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    names = words[:n_names] or list(EXPERIMENTS)
    if "--help" in words or "-h" in words:
        names = []
    given = [f"[{', '.join(names)}]"] if names else []
    call_with(decompose, [*given, *words[n_names:]], prog="lm-merge decompose")
