"""All experiments in one folder: complete, resumable, refused before anything runs."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from analyses.paper import writing
from analyses.paper.command import main
from analyses.paper.config import PaperConfig
from analyses.paper.experiments import EXPERIMENTS
from analyses.running.options import OutputOptions
from lm_merge import Recipe
from lm_merge.recipes import ModelSource
from lm_merge.runs.record import read_record

SMALL = ("similarity", "tokens")


@pytest.fixture(autouse=True)
def _no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "EXPORT_FORMATS", ())  # each image starts a browser


def write(root: Path, **changes: Any) -> Path:
    config = PaperConfig(**{"experiments": SMALL, "n_prompts": 8} | changes)
    return writing.write(config, {}, output=OutputOptions(runs=root))


@pytest.mark.slow
def test_folder_holds_page_figures_tables_and_a_summary_that_leads_to_the_runs(
    tmp_path: Path,
) -> None:
    page = write(tmp_path)
    text, folder = page.read_text(), page.parent
    assert "<script src" not in text
    findings = json.loads((folder / "summary.json").read_text())
    assert {row["experiment"] for row in findings} == set(SMALL)
    runs = json.loads((folder / "runs.json").read_text())
    assert list(runs) == list(SMALL)
    for name, one in runs.items():
        assert EXPERIMENTS[name].title in text
        assert read_record(Path(one["run"])).config_hash == one["config_hash"]
        for key, n_rows in one["n_rows"].items():
            assert len(pd.read_parquet(folder / f"{name}_{key}.parquet")) == n_rows
    assert "\\toprule" in (folder / "tables" / "similarity.tex").read_text()
    record = read_record(folder)
    assert record.status == "finished"
    assert {"report.html", "summary.json", "runs.json", "figures/next_tokens.html"} <= set(
        record.files
    )


@pytest.mark.slow
def test_experiments_that_have_finished_are_found_again(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write(tmp_path, experiments=("tokens",))
    capsys.readouterr()
    write(tmp_path, experiments=("tokens", "similarity"))
    assert capsys.readouterr().err.count("found the finished run") == 1
    assert len(list(tmp_path.glob("*-tokens-*"))) == 1


def test_bad_choices_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="experiments=.*'curvture'.*choose from comparison"):
        write(tmp_path, experiments=("curvture",))
    recipe = tmp_path / "logits.yaml"
    Recipe(space="logits", host="tiny-instruct", donors=("tiny-thinker",), alpha=0.5).save(recipe)
    with pytest.raises(ValueError, match=r"space='logits'.*space 'latents'"):
        write(tmp_path, recipe=recipe)
    assert not list(tmp_path.glob("*-paper-*"))


@pytest.mark.slow
def test_the_command_runs_the_experiments_of_a_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    recipe = tmp_path / "mine.yaml"
    Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers={3: 0.5}).save(recipe)
    main(["--recipe", str(recipe), "--experiments", "[tokens]", "--runs", str(tmp_path)])
    what, *lines = capsys.readouterr().out.splitlines()
    assert what.endswith("latents slerp 0.5 at block 3: tokens")
    assert any(line.startswith("everything: ") for line in lines)
    assert len(list(tmp_path.glob("*-paper-*"))) == 1


@pytest.mark.slow
def test_recipe_decides_what_is_merged(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    Recipe(host="tiny-instruct", donors=("tiny-coder",), layers={5: 0.5}).save(recipe)
    page = write(tmp_path, experiments=("tokens",), recipe=recipe)
    gate = pd.read_parquet(page.parent / "tokens_gate.parquet")
    assert set(gate.layer) == {5}


def test_what_an_experiment_cannot_represent_stops_the_paper_before_anything_runs(
    tmp_path: Path,
) -> None:
    recipe = tmp_path / "two.yaml"
    schedule = {3: 0.25, 5: 0.75}
    Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers=schedule).save(recipe)
    with pytest.raises(ValueError, match=r"experiment 'comparison' cannot.*\[tokens\]"):
        write(tmp_path, experiments=("comparison", "tokens"), recipe=recipe)
    Recipe(host="tiny-instruct", donors=("tiny-thinker", "tiny-coder"), layers={3: 0.5}).save(
        recipe
    )
    with pytest.raises(ValueError, match="experiment 'curvature' cannot.*one donor's stream"):
        write(tmp_path, experiments=("curvature", "tokens"), recipe=recipe)
    assert not list(tmp_path.glob("*-paper-*"))


def test_two_experiments_with_one_name_of_a_figure_are_refused() -> None:
    figures = [("token_probabilities", go.Figure(), pd.DataFrame())]
    files: dict[str, str] = {}
    writing._take_names(files, "tokens", figures, {})
    writing._take_names(files, "tokens", figures, {})  # its own name, again
    with pytest.raises(ValueError, match="'figure token_probabilities' comes from two experiments"):
        writing._take_names(files, "similarity", figures, {})


@pytest.mark.slow
def test_sizes_reach_the_experiments_and_sources_are_named_plainly(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    host = ModelSource(model="tiny-instruct", dtype="float32")
    Recipe(host=host, donors=("tiny-thinker",), layers={3: 0.5}).save(recipe)
    page = write(tmp_path, experiments=("tokens",), recipe=recipe, max_new_tokens=2)
    assert "Host tiny-instruct, donors" in page.read_text()
    (folder,) = tmp_path.glob("*-tokens-*")
    assert read_record(folder).config_resolved["max_new_tokens"] == 2
