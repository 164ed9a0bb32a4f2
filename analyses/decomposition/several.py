"""Several experiments as the cells of a sweep, and one page with the figures of all."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.decomposition.analysis import summary
from analyses.decomposition.config import DecompositionConfig
from analyses.decomposition.drawing import draw
from analyses.running.command_line import computing, save_figures
from figures import Section, render_page
from lm_merge.decomposition.registry import Preset
from lm_merge.runs import sweep

INTRODUCTION = (
    "Weights as sums of rank-1 components that matter one input at a time. Each section is one "
    "experiment from several random starts. The tables compare with the values of arXiv 2506.20790."
)


def decompose_several(
    names: Sequence[str],
    *,
    seeds: tuple[int, ...],
    preset: Preset,
    fit: dict[str, Any],
    runs: Path,
    report: bool,
) -> None:
    """Run the experiments, print the findings of each; exits with the number of failed ones."""
    configs = [
        DecompositionConfig(experiment=name, preset=preset, seeds=seeds, fit=fit) for name in names
    ]
    function = partial(computing("decomposition", fresh=False), quiet=False)
    outcomes = sweep("decomposition", configs, function, root=runs)
    sections, failed = [], 0
    for config, outcome in zip(configs, outcomes, strict=True):
        if outcome.status == "failed" or outcome.folder is None:
            failed += 1
            sys.stderr.write(f"{config.experiment}: {outcome.message}\n")
            continue
        tables = {path.stem: pd.read_parquet(path) for path in outcome.folder.glob("*.parquet")}
        figures = draw(tables, config)
        save_figures(outcome.folder, figures, ("html",))
        sys.stdout.write(f"{summary(tables)}\n  {outcome.folder}\n")
        sections.append(Section(config.experiment, summary(tables), table=tables["published"]))
        sections += [Section("", "", figure) for _, figure, _ in figures]
    if report and sections:
        path = runs / "decomposition-report.html"
        path.write_text(render_page("Decompositions", INTRODUCTION, sections), encoding="utf-8")
        sys.stdout.write(f"report: {path}\n")
    sys.exit(min(failed, 100))
