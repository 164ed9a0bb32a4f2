"""Sweeps of an analysis from a file and from the command line."""

import inspect
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from pydantic import BaseModel

from analyses import ANALYSES, sweep
from analyses.adapter_search.config import AdapterSearchConfig
from analyses.running.command import config_class_of
from analyses.running.command_line import analysis_of
from analyses.running.listing import listing
from analyses.similarity import analysis as similarity
from analyses.similarity.config import SimilarityConfig
from lm_merge import cli
from lm_merge.runs import CellOutcome
from lm_merge.runs.identity import config_hash
from lm_merge.runs.record import read_record

PROJECT = Path(__file__).parents[2]
RECIPE = {"host": "tiny-instruct", "donors": ["tiny-thinker"], "layers": [3], "alpha": 0.5}
BASE = {"n_prompts": 4, "recipe": RECIPE, "compare_with": []}
GRID = {"recipe.operator": ["lerp", "slerp"], "recipe.layers": [[3], [5]]}


def write(path: Path, **content) -> str:
    path.write_text(yaml.safe_dump({"analysis": "similarity", "base": BASE, **content}))
    return str(path)


def folders(runs: Path, analysis: str) -> list[Path]:
    return sorted(runs.glob(f"*-{analysis}-*"))


@pytest.mark.slow
def test_a_file_is_swept_collected_and_found(tmp_path, capsys):
    runs = tmp_path / "runs"
    file = write(tmp_path / "sweep.yaml", grid=GRID)
    arguments = ["sweep", file, "--runs", str(runs), "--export", str(tmp_path / "out")]
    cli.main(arguments)
    first = capsys.readouterr().out
    assert "4 cells of similarity" in first
    (folder,) = folders(runs, "sweep")
    table = pd.read_parquet(folder / "similarity.parquet")
    assert len(table) == 4 * 8 * 9
    assert set(table["recipe.layers"]) == {"[3]", "[5]"}
    for (operator, layers), rows in table.groupby(["recipe.operator", "recipe.layers"]):
        layer = yaml.safe_load(layers)[0]
        recipe = RECIPE | {"operator": operator, "layers": [layer]}
        config = SimilarityConfig(**BASE | {"recipe": recipe})
        alone = similarity.run(config)["similarity"]
        pd.testing.assert_frame_equal(rows[list(alone)].reset_index(drop=True), alone)
        (record,) = runs.glob(f"*-similarity-{rows.config_hash.unique().item()}")
        assert read_record(record).config_resolved["recipe"]["layers"] == [layer]
    assert list(pd.read_csv(tmp_path / "out" / "cells.csv").status) == ["finished"] * 4
    assert (folder / "paths.csv").is_file()
    cli.main(arguments)
    captured = capsys.readouterr()
    assert captured.out == first
    assert "found the finished run" in captured.err
    assert folders(runs, "sweep") == [folder]


@pytest.mark.slow
def test_a_failing_cell_sets_the_status_and_the_others_are_collected(tmp_path, capsys):
    runs, prompts = tmp_path / "runs", tmp_path / "prompts.txt"
    prompts.write_text("\n")  # holds no line of text
    grid = {"prompts": [None, str(prompts)]}
    arguments = ["sweep", write(tmp_path / "sweep.yaml", grid=grid), "--runs", str(runs)]
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert "1 of 2 cells failed" in error
    assert "prompts.txt holds no line of text" in error
    (folder,) = folders(runs, "sweep")
    assert read_record(folder).status == "failed"
    cells = pd.read_parquet(folder / "cells.parquet")
    assert list(cells.status) == ["finished", "failed"]
    assert "holds no line" in cells.error[1]
    assert pd.read_parquet(folder / "similarity.parquet").prompts.isna().all()
    prompts.write_text("12+34 = ?\n")
    cli.main(arguments)
    statuses = [read_record(one).status for one in folders(runs, "similarity")]
    assert sorted(statuses) == ["failed", "finished", "finished"]  # the first was found


@pytest.mark.slow
def test_options_override_the_file_and_dashes_will_do(tmp_path, capsys):
    file = write(
        tmp_path / "sweep.yaml",
        grid={"recipe.operator": ["lerp"]},
        base={"compare_with": [], "n_prompts": 99},
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "host: tiny-instruct\ndonors: [tiny-coder]\nlayers: {3: 0.5}\nspace: latents\n"
    )
    sweep.main(
        ["--config", file, "--base.n-prompts", "4", "--grid.alphas", "[[0.25],[0.75]]"]
        + ["--recipe", str(recipe), "--runs", str(tmp_path / "runs")]
    )
    assert "2 cells of similarity" in capsys.readouterr().out
    records = [read_record(folder) for folder in folders(tmp_path / "runs", "similarity")]
    for record in records:
        assert record.config_resolved["n_prompts"] == 4
        assert record.config_resolved["recipe"]["donors"] == ["tiny-coder"]
        assert record.config_resolved["recipe"]["operator"] == "lerp"
    assert sorted(record.config_resolved["alphas"] for record in records) == [[0.25], [0.75]]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ({"analysis": "similarty", "grid": {}}, [], "'similarty' is unknown; choose from "),
        (
            {"analysis": "command_line", "grid": {}},
            [],
            "a package with modules config and analysis",
        ),
        ({"grid": {"operatr": ["lerp"]}}, [], "has no 'operatr'"),
        ({"grid": {"n_prompts": [4, 0]}}, [], "greater than 0"),
        ({"grid": {"recipe.operator": []}}, [], "at least one value"),
        ({"gird": {}}, [], "gird is unknown; choose from analysis"),
        ({}, [], "needs a grid, parts, or both"),
        ({"parts": [{"grid": {"n_prompts": [4]}, "bsae": {}}]}, [], "bsae"),
        ({"grid": {}}, ["--cpus", "2"], "give ray or ray_address too"),
        ({"grid": {}}, ["--retries", "-1"], "retries"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_runs(
    tmp_path, capsys, content, options, message
):
    file = write(tmp_path / "sweep.yaml", **content)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["sweep", file, "--runs", str(tmp_path / "runs"), *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("*-similarity-*"))


@pytest.mark.parametrize(
    "path", sorted((PROJECT / "sweeps").glob("*.yaml")), ids=lambda path: path.stem
)
def test_sweeps_that_come_along_are_valid(path, tmp_path, monkeypatch):
    content = yaml.safe_load(path.read_text())
    if "sources" in content.get("base", {}):  # folders that the reader has
        monkeypatch.chdir(tmp_path)
        for locale in content["grid"]["target"]:
            Path(content["base"]["sources"].replace("{locale}", locale)).mkdir(parents=True)
    if "search" in content:  # trials proposed one after another
        assert len(AdapterSearchConfig(**content).space) > 1
        return
    config = sweep.SweepConfig(**content)
    assert len(config.cells) == len(set(config.cells)) > 1


def test_parts_are_on_top_of_the_file_and_the_part_wins():
    parts = [{"grid": {"seed": [0, 1]}}, {"base": {"n_prompts": 7}, "grid": {"seed": [2]}}]
    config = sweep.SweepConfig(
        analysis="similarity", base=BASE, grid={"n_prompts": [4, 5]}, parts=parts
    )
    expected = [(4, 0), (4, 1), (5, 0), (5, 1), (7, 2)]
    cells: list[SimilarityConfig] = sweep.configs_of(config)
    assert [(one.n_prompts, one.seed) for one in cells] == expected
    assert [(one["n_prompts"], one["seed"]) for one in sweep.labels_of(config)] == expected


@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_can_be_swept_whether_file_or_package(name):
    assert issubclass(config_class_of(name), BaseModel)
    analysis = analysis_of(name)
    config, record, *_ = inspect.signature(analysis.run, eval_str=True).parameters.values()
    assert config.annotation is config_class_of(name)
    assert record.name == "record"
    assert list(inspect.signature(analysis.draw).parameters) == ["tables", "config"]
    assert "Keys: " in str(inspect.getdoc(analysis.findings))  # of summary.json


def test_the_list_of_analyses_names_every_command_without_importing_one():
    code = "import sys, analyses; sys.exit(any('torch' in one for one in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0
    lines = listing().splitlines()
    assert [line.split()[2] for line in lines] == list(ANALYSES.values())
    assert all(len(line.split()) > 5 for line in lines)


@pytest.mark.slow
def test_the_status_of_many_failures_stays_below_those_that_shells_use(
    tmp_path, capsys, monkeypatch
):
    def all_fail(analysis, configs, function, **given):
        return [CellOutcome(config_hash(one), "failed", None, "ValueError: no") for one in configs]

    monkeypatch.setattr(sweep, "sweep", all_fail)
    grid = {"seed": list(range(130))}
    options = sweep.SweepOptions(analysis="similarity", base=BASE, grid=grid, runs=tmp_path)
    with pytest.raises(SystemExit) as stopped:
        sweep.execute(options, {})
    assert stopped.value.code == sweep.MAX_STATUS < 125
    assert "130 of 130 cells failed" in capsys.readouterr().err


def test_fresh_reaches_what_an_analysis_goes_on_from(tmp_path, monkeypatch):
    given = []

    def all_found(analysis, configs, function, **options):
        given.append(function)
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "sweep", all_found)
    for analysis, fresh in (("comparison", True), ("comparison", False), ("similarity", True)):
        grid = {"seeds": [[0]]} if analysis == "comparison" else {"seed": [0]}
        options = sweep.SweepOptions(analysis=analysis, grid=grid, runs=tmp_path, fresh=fresh)
        with pytest.raises(KeyboardInterrupt):
            sweep.execute(options, {})
    takes_since = [getattr(function, "keywords", {}).keys() == {"since"} for function in given]
    assert takes_since == [True, False, False]
