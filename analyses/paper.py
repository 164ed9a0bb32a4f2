"""Every experiment of the paper for one recipe, in one folder: `python -m analyses.paper`.

Each experiment is a run of its own and is found again when it has finished, so that interrupted
work goes on where it stopped. The folder holds what a paper needs: `report.html`, figures
(interactive HTML, PDF, SVG, PNG), tables (Parquet, CSV, LaTeX) and `summary.json`.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from analyses.experiments import EXPERIMENTS, Experiment, Size
from analyses.running.command_line import (
    EXPORT_FORMATS,
    Figure,
    OutputOptions,
    Tables,
    one_line_errors,
    parse_config,
    run_recorded,
    save_figures,
)
from analyses.running.inputs import source_name
from figures import Section, latex_table, render_page
from lm_merge.errors import one_line
from lm_merge.recipes import Recipe
from lm_merge.runs.identity import config_hash
from lm_merge.runs.record import Run, start_run

TITLE = "Merging in the residual stream"
INTRODUCTION = (
    "Host {host}, donors {donors}, operator {operator}, blocks {layers}. Every number below comes from "
    "a run whose record (configuration, versions, commit, seeds) is named in summary.json. alpha is the "
    "donors' weight: 0 is the host, 1 the donor."
)


class PaperConfig(BaseModel):
    """Which recipe, and how much of everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Path | None = Field(
        default=None, description="YAML file of a latent merge; None: the bundled pair at block 3"
    )
    experiments: tuple[str, ...] = Field(
        default=tuple(EXPERIMENTS), description=f"which of {', '.join(EXPERIMENTS)}"
    )
    n_questions: PositiveInt = Field(
        default=200, description="questions in each category that systems answer"
    )
    n_seeds: PositiveInt = Field(default=3, description="draws of those questions")
    n_prompts: PositiveInt = Field(default=128, description="prompts on which streams are measured")
    questions: str | None = Field(
        default=None,
        description="JudgeBench file, folder or hub name that systems answer; None: the bundled ones",
    )
    max_new_tokens: PositiveInt | None = Field(
        default=None,
        description="tokens of an answer at most; a reasoning model needs thousands; None: enough for "
        "the bundled questions",
    )
    batch_size: PositiveInt | None = Field(
        default=None, description="texts or prompts at a time; None: each experiment's own"
    )
    device: str | None = Field(default=None, description="torch device; None: the CPU")
    dtype: str | None = Field(default=None, description="torch dtype; None: the checkpoint's")


class PaperOptions(PaperConfig, OutputOptions):
    """The configuration and where results go."""


def write(options: PaperOptions, given: dict[str, Any]) -> Path:
    """Run what has not finished yet and put everything into a folder; gives the page's path."""
    config = PaperConfig(**{key: getattr(options, key) for key in PaperConfig.model_fields})
    chosen = _chosen(config.experiments)
    recipe = _recipe(config)
    size = Size(**{key.name: getattr(config, key.name) for key in fields(Size)})
    configs = _configs(chosen, recipe, size)  # before any runs
    with start_run("paper", config, root=options.runs, config_given=given) as record:
        sections, summary, files = [], {}, {}
        for name, experiment in chosen.items():
            folder, tables = run_recorded(
                name, configs[name], {}, output=options, run=experiment.run
            )
            figures = experiment.draw(tables, configs[name])
            _take_names(files, name, figures, experiment.print_tables(tables))
            _save(record, options, name, experiment, tables, figures)
            sections += _sections(experiment, tables, figures)
            summary[name] = _summary(folder, configs[name], tables, experiment)
        _write_text(record, "summary.json", json.dumps(summary, indent=2) + "\n")
        introduction = INTRODUCTION.format(
            host=source_name(recipe.host),
            donors=", ".join(map(source_name, recipe.donors)),
            operator=recipe.operator,
            layers=", ".join(map(str, recipe.layers or ())),
        )
        return _write_text(record, "report.html", render_page(TITLE, introduction, sections))


def _chosen(names: Sequence[str]) -> dict[str, Experiment]:
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown:
        raise ValueError(f"experiments={unknown} are unknown; choose from {', '.join(EXPERIMENTS)}")
    return {name: EXPERIMENTS[name] for name in names}


def _configs(chosen: Mapping[str, Experiment], recipe: Recipe, size: Size) -> dict[str, BaseModel]:
    """Every experiment's configuration; ValueError that names the experiment that cannot be had."""
    configs = {}
    for name, experiment in chosen.items():
        try:
            configs[name] = experiment.configure(recipe, size)
        except ValueError as error:
            others = ",".join(one for one in chosen if one != name)
            raise ValueError(
                f"experiment {name!r} cannot do this recipe: {one_line(error)}. Change the recipe, or "
                f"leave the experiment out: --experiments '[{others}]'"
            ) from error
    return configs


def _recipe(config: PaperConfig) -> Recipe:
    if config.recipe is None:
        return Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers={3: 0.5})
    recipe = Recipe.load(config.recipe)
    if recipe.space != "latents":
        raise ValueError(
            f"recipe {config.recipe} is of space {recipe.space!r}; the paper is about a latent "
            "merge, which it compares with the other spaces itself: give a recipe of space 'latents'"
        )
    if not recipe.layers:
        raise ValueError(f"recipe {config.recipe}: layers is empty; name the blocks to merge at")
    return recipe


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
    options: PaperOptions,
    name: str,
    experiment: Experiment,
    tables: Tables,
    figures: Sequence[Figure],
) -> None:
    for key, table in tables.items():
        record.save_table(f"{name}_{key}", table)
    folders: dict[Path, tuple[str, ...]] = {record.folder / "figures": ("html", *EXPORT_FORMATS)}
    if options.export is not None:
        folders[options.export] = EXPORT_FORMATS
    for folder, formats in folders.items():
        width_in = options.width_in if folder == options.export else None
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


def _summary(
    folder: Path, config: BaseModel, tables: Tables, experiment: Experiment
) -> dict[str, Any]:
    return {
        "run": str(folder),
        "config_hash": config_hash(config),
        "findings": experiment.findings(tables),
        "n_rows": {key: len(table) for key, table in tables.items()},
    }


def _write_text(record: Run, name: str, text: str) -> Path:
    path = record.folder / name
    path.write_text(text, encoding="utf-8")
    return record.add_file(path)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: write everything and say where it lies."""
    options, given = parse_config(
        PaperOptions, argv, prog="python -m analyses.paper", description=__doc__ or ""
    )
    path = write(options, given)
    for name, one in json.loads((path.parent / "summary.json").read_text()).items():
        if one["findings"]:
            sys.stdout.write("\n  ".join([name, *one["findings"]]) + "\n")
    sys.stdout.write(f"everything: {path.parent}\nreport: {path}\n")


if __name__ == "__main__":
    with one_line_errors("paper"):
        main()
