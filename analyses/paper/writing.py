"""Run every experiment, and write figures, tables, findings and the page into one folder."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from analyses.paper.config import PaperConfig
from analyses.paper.experiments import EXPERIMENTS, Experiment
from analyses.running.command_line import (
    EXPORT_FORMATS,
    Figure,
    Tables,
    analysis_of,
    run_recorded,
    save_figures,
)
from analyses.running.options import OutputOptions
from analyses.running.recipe_words import source_name
from figures import Section, latex_table, render_page
from lm_merge.errors import one_line
from lm_merge.recipes import Recipe
from lm_merge.runs.identity import config_hash
from lm_merge.runs.record import Run, start_run

TITLE = "Merging in the residual stream"
INTRODUCTION = (
    "Host {host}, donors {donors}, operator {operator}, blocks {layers}. Every number below comes from "
    "a run whose record (configuration, versions, commit, seeds) is named in runs.json. alpha is the "
    "donors' weight: 0 is the host, 1 the donor."
)


def write(config: PaperConfig, given: dict[str, Any], *, output: OutputOptions) -> Path:
    """Run what has not finished yet and put everything into a folder; returns the page's path."""
    chosen = {name: EXPERIMENTS[name] for name in config.experiments}
    configs = _configs(chosen, config)  # before any runs
    with start_run("paper", config, root=output.runs, config_given=given) as record:
        sections, findings, runs, files = [], [], {}, {}
        for name, experiment in chosen.items():
            of = configs[name]
            folder, tables = run_recorded(name, of, output=output, quiet=False)
            analysis = analysis_of(name)
            drawn = analysis.draw(tables, of)
            figures = [one for one in drawn if one[0] not in experiment.not_drawn]
            _take_names(files, name, figures, experiment.print_tables(tables))
            _save(record, output, name, experiment, tables, figures)
            sections += _sections(experiment, tables, figures)
            findings += [{"experiment": name} | dict(row) for row in analysis.findings(tables, of)]
            lines = analysis.summary(tables, of).splitlines()
            runs[name] = _run_row(folder, of, tables, lines)
            sys.stdout.write("\n  ".join([name, *lines]) + "\n")
        record.save_summary(findings)
        _write_text(record, "runs.json", json.dumps(runs, indent=2) + "\n")
        introduction = INTRODUCTION.format(**_words_of(config.recipe))
        return _write_text(record, "report.html", render_page(TITLE, introduction, sections))


def _words_of(recipe: Recipe) -> dict[str, str]:
    return {
        "host": source_name(recipe.host),
        "donors": ", ".join(map(source_name, recipe.donors)),
        "operator": recipe.operator,
        "layers": ", ".join(map(str, recipe.layers or ())),
    }


def _configs(chosen: Mapping[str, Experiment], config: PaperConfig) -> dict[str, BaseModel]:
    """Every experiment's configuration; ValueError that names the experiment that cannot be had."""
    configs = {}
    for name, experiment in chosen.items():
        try:
            configs[name] = experiment.configure(config)
        except ValueError as error:
            others = ",".join(one for one in chosen if one != name)
            raise ValueError(
                f"experiment {name!r} cannot do this recipe: {one_line(error)}. Change the recipe, or "
                f"leave the experiment out: --experiments '[{others}]'"
            ) from error
    return configs


def _take_names(
    files: dict[str, str],
    name: str,
    figures: Sequence[Figure],
    printed: Mapping[str, pd.DataFrame],
) -> None:
    """Note whose a file is: all figures share a folder, and so do all printed tables."""
    for file in [*(f"figure {key}" for key, _, _ in figures), *(f"table {key}" for key in printed)]:
        owner = files.setdefault(file, name)
        if owner != name:
            raise ValueError(
                f"{file!r} comes from two experiments, {owner} and {name}, into one folder: give one of "
                "them another name"
            )


def _save(
    record: Run,
    output: OutputOptions,
    name: str,
    experiment: Experiment,
    tables: Tables,
    figures: Sequence[Figure],
) -> None:
    for key, table in tables.items():
        record.save_table(f"{name}_{key}", table)
    folders: dict[Path, tuple[str, ...]] = {record.folder / "figures": ("html", *EXPORT_FORMATS)}
    if output.export is not None:
        folders[output.export] = EXPORT_FORMATS
    for folder, formats in folders.items():
        width_in = output.width_in if folder == output.export else None
        for path in save_figures(folder, figures, formats, width_in=width_in):
            record.add_file(path)
        for key, printed in experiment.print_tables(tables).items():
            caption = f"{experiment.title}: {_words(key)}"
            text = latex_table(printed, caption=caption, label=f"tab:{key}")
            path = folder.parent / "tables" if folder.parent == record.folder else folder
            path.mkdir(parents=True, exist_ok=True)
            (path / f"{key}.tex").write_text(text, encoding="utf-8")
            record.add_file(path / f"{key}.tex")


def _sections(experiment: Experiment, tables: Tables, figures: Sequence[Figure]) -> list[Section]:
    """The experiment's text, then its printed tables, then its figures."""
    printed = experiment.print_tables(tables)
    return [
        Section(experiment.title, experiment.text),
        *(Section("", f"{_heading(key)}:", None, one) for key, one in printed.items()),
        *(Section("", "", figure) for _, figure, _ in figures),
    ]


def _heading(key: str) -> str:
    words = _words(key)
    return words[:1].upper() + words[1:]


def _words(key: str) -> str:
    return key.replace("_", " ")


def _run_row(
    folder: Path, config: BaseModel, tables: Tables, lines: Sequence[str]
) -> dict[str, Any]:
    return {
        "run": str(folder),
        "config_hash": config_hash(config),
        "findings": list(lines),
        "n_rows": {key: len(table) for key, table in tables.items()},
    }


def _write_text(record: Run, name: str, text: str) -> Path:
    path = record.folder / name
    path.write_text(text, encoding="utf-8")
    return record.add_file(path)
