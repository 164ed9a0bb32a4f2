"""All experiments in one folder: complete, resumable, refused before anything runs."""

import json
from pathlib import Path

import pandas as pd
import pytest

from analyses import paper, report
from analyses.experiments import EXPERIMENTS
from lm_merge import Recipe
from lm_merge.recipes import ModelSource
from lm_merge.runs.record import read_record

SMALL = ("similarity", "tokens")


@pytest.fixture(autouse=True)
def _no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "EXPORT_FORMATS", ())  # each image starts a browser


def options(root: Path, **changes: object) -> paper.PaperOptions:
    given = {"runs": root, "experiments": SMALL, "n_prompts": 8} | changes
    return paper.PaperOptions(**given)


def test_folder_holds_page_figures_tables_and_a_summary_that_leads_to_the_runs(
    tmp_path: Path,
) -> None:
    page = paper.write(options(tmp_path), {})
    text, folder = page.read_text(), page.parent
    assert "<script src" not in text
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary) == list(SMALL)
    for name, one in summary.items():
        assert EXPERIMENTS[name].title in text
        assert read_record(Path(one["run"])).config_hash == one["config_hash"]
        for key, n_rows in one["n_rows"].items():
            assert len(pd.read_parquet(folder / f"{name}_{key}.parquet")) == n_rows
    assert "\\toprule" in (folder / "tables" / "similarity.tex").read_text()
    record = read_record(folder)
    assert record.status == "finished"
    assert {"report.html", "summary.json", "figures/next_tokens.html"} <= set(record.files)


def test_experiments_that_have_finished_are_found_again(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    paper.write(options(tmp_path, experiments=("tokens",)), {})
    capsys.readouterr()
    paper.write(options(tmp_path, experiments=("tokens", "similarity")), {})
    assert capsys.readouterr().err.count("found the finished run") == 1
    assert len(list(tmp_path.glob("*-tokens-*"))) == 1


def test_bad_choices_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="experiments=.*'curvture'.*choose from comparison"):
        paper.write(options(tmp_path, experiments=("curvture",)), {})
    recipe = tmp_path / "logits.yaml"
    Recipe(space="logits", host="tiny-instruct", donors=("tiny-thinker",), alpha=0.5).save(recipe)
    with pytest.raises(ValueError, match=r"space 'logits'.*space 'latents'"):
        paper.write(options(tmp_path, recipe=recipe), {})
    assert not list(tmp_path.glob("*-paper-*"))


def test_the_report_of_a_recipe_is_the_paper(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    recipe = tmp_path / "mine.yaml"
    Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers={3: 0.5}).save(recipe)
    words = ["--recipe", str(recipe), "--experiments", "[tokens]", "--runs", str(tmp_path)]
    report.main(words)
    assert "everything: " in capsys.readouterr().out
    assert len(list(tmp_path.glob("*-paper-*"))) == 1


def test_recipe_decides_what_is_merged(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    Recipe(host="tiny-instruct", donors=("tiny-coder",), layers={5: 0.5}).save(recipe)
    page = paper.write(options(tmp_path, experiments=("tokens",), recipe=recipe), {})
    gate = pd.read_parquet(page.parent / "tokens_gate.parquet")
    assert set(gate.layer) == {5}


def test_what_an_experiment_cannot_represent_stops_the_paper_before_anything_runs(
    tmp_path: Path,
) -> None:
    recipe = tmp_path / "two.yaml"
    schedule = {3: 0.25, 5: 0.75}
    Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers=schedule).save(recipe)
    with pytest.raises(ValueError, match=r"experiment 'comparison' cannot.*\[tokens\]"):
        paper.write(options(tmp_path, experiments=("comparison", "tokens"), recipe=recipe), {})
    Recipe(host="tiny-instruct", donors=("tiny-thinker", "tiny-coder"), layers={3: 0.5}).save(
        recipe
    )
    with pytest.raises(ValueError, match="experiment 'curvature' cannot.*one donor's stream"):
        paper.write(options(tmp_path, experiments=("curvature", "tokens"), recipe=recipe), {})
    assert not list(tmp_path.glob("*-paper-*"))


def test_two_experiments_with_one_name_of_a_figure_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = EXPERIMENTS["tokens"]
    monkeypatch.setitem(EXPERIMENTS, "again", tokens)
    with pytest.raises(ValueError, match="'figure token_probabilities' comes from two experiments"):
        paper.write(options(tmp_path, experiments=("tokens", "again")), {})


def test_sizes_reach_the_experiments_and_sources_are_named_plainly(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    host = ModelSource(model="tiny-instruct", dtype="float32")
    Recipe(host=host, donors=("tiny-thinker",), layers={3: 0.5}).save(recipe)
    page = paper.write(
        options(tmp_path, experiments=("tokens",), recipe=recipe, max_new_tokens=2), {}
    )
    assert "Host tiny-instruct, donors" in page.read_text()
    (folder,) = tmp_path.glob("*-tokens-*")
    assert read_record(folder).config_resolved["max_new_tokens"] == 2
