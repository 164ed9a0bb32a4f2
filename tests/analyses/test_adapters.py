"""Merges of adapters evaluated against the base and their experts, and searched for."""

import json
import math
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from analyses.adapter_search import analysis as search_analysis
from analyses.adapter_search.config import AdapterSearchConfig
from analyses.adapter_search.parameters import varied_recipe
from analyses.adapters import analysis as adapters_analysis
from analyses.adapters.config import AdaptersConfig
from analyses.running.command_line import compute, run_recorded
from analyses.running.options import OutputOptions
from lm_merge.recipes import Recipe
from lm_merge.runs.record import read_record, start_run
from lm_merge.runs.summary import read_summary
from lm_merge.spaces.adapters.donors import merge_of
from lm_merge.spaces.adapters.export import write_adapters

DONORS = ("two_step_programs", "differences")
RECIPE = Recipe(space="adapters", host="tiny-instruct", donors=DONORS, coefficients=(0.8, 0.0))
SIZES = {"tasks": ("two_step_programs",), "subset": {"n_max": 6}}


def evaluate(root: Path, **fields):
    config = AdaptersConfig(**{"recipe": RECIPE, **SIZES, **fields})
    return run_recorded("adapters", config, output=OutputOptions(runs=root))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    return evaluate(tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
def test_a_run_leaves_what_its_page_names(evaluated, tiny_instruct):
    folder, tables = evaluated
    (row,) = read_summary(folder)
    keys = "task metric base expert merged recovery n low high split".split()
    assert list(row) == keys
    table = tables["recovery"].iloc[0]
    assert row["recovery"] == pytest.approx(
        (table.merged - table.base) / (table.expert - table.base)
    )
    assert (row["n"], row["split"], table.subset) == (6, "test", "n6-seed0")
    assert table.merged == tables["replies"].reply.eq(tables["replies"].label).mean()
    for name in ("recipe.yaml", "coefficients.json"):
        assert name in read_record(folder).files
    path = folder / "coefficients.json"
    again = RECIPE.with_fields(coefficients=str(path))
    assert (
        merge_of(again, tiny_instruct).coefficients == merge_of(RECIPE, tiny_instruct).coefficients
    )
    content = json.loads(path.read_text())
    content["sources"][0]["fingerprint"] = "of other files"
    changed = folder / "changed.json"
    changed.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="other files of adapter 'two_step_programs'"):
        merge_of(RECIPE.with_fields(coefficients=str(changed)), tiny_instruct)
    sensitivity = tables["sensitivity"]
    assert set(sensitivity.source) == set(DONORS)
    own = sensitivity.loc[sensitivity.source == "two_step_programs"].value.abs().sum()
    assert own > 0


@pytest.mark.slow
def test_baselines_are_found_again_and_a_single_expert_recovers_all(evaluated):
    folder, tables = evaluated
    root = folder.parent
    n_before = len(list(root.glob("*-answers-*")))
    alone = RECIPE.with_fields(coefficients=(1.0, 0.0))
    _, again = evaluate(root, recipe=alone, sensitivity=False)
    assert len(list(root.glob("*-answers-*"))) == n_before == 2
    row = again["recovery"].iloc[0]
    assert (row.recovery, row.base) == (1.0, tables["recovery"].iloc[0].base)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["lora", "delta"])
def test_a_saved_merge_gives_the_same_numbers(evaluated, tmp_path, form, tiny_instruct):
    folder, tables = evaluated
    saved = tmp_path / form
    saved.mkdir()
    write_adapters(merge_of(RECIPE, tiny_instruct), saved, form)
    _, again = evaluate(folder.parent, saved=saved)
    pd.testing.assert_frame_equal(again["replies"], tables["replies"])
    pd.testing.assert_frame_equal(again["recovery"], tables["recovery"])


@pytest.mark.slow
def test_own_questions_are_tasks_with_experts(evaluated, tmp_path):
    rows = [
        {
            "prompt": f"What does this print?\nx = 'A{letter}C'\nprint(x[0])",
            "answer": "A",
            "split": "test",
        }
        for letter in "BDEF"
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps(row | {"category": "first letters"}) for row in rows))
    root = evaluated[0].parent
    with pytest.raises(ValueError, match="'first letters' has no expert"):
        evaluate(root, questions=path, tasks=())
    fields = {"questions": path, "tasks": (), "experts": {"first letters": DONORS[0]}}
    _, tables = evaluate(root, sensitivity=False, **fields)
    assert tables["recovery"].task.tolist() == ["first letters"]
    assert tables["recovery"].n.tolist() == [4]


@pytest.mark.slow
def test_a_fit_is_recorded_as_a_file_of_coefficients(evaluated):
    fit = {"fit": {"steps": 2, "n_examples": 4, "batch_size": 4, "objective": "supervised"}}
    recipe = RECIPE.with_fields(coefficients=fit)
    folder, tables = evaluate(evaluated[0].parent, recipe=recipe, sensitivity=False)
    content = json.loads((folder / "coefficients.json").read_text())
    assert content["objective"] == "supervised"
    assert [one["name"] for one in content["sources"]] == list(DONORS)
    assert all(one["fingerprint"] for one in content["sources"])
    assert tables["coefficients"].coefficient.between(0.29, 0.31).all()
    assert any("peak memory" in note for note in read_record(folder).notes)
    with pytest.raises(ValueError, match=r"recipe.coefficients.fit: objective"):
        evaluate(
            evaluated[0].parent, recipe=RECIPE.with_fields(coefficients={"fit": {"objective": "x"}})
        )


def searched(root: Path, **fields):
    given = {
        "recipe": RECIPE.with_fields(coefficients=None),
        "space": {"coefficient.two_step_programs": {"low": 0, "high": 1.2}},
        "search": {"budget": 3, "n_start": 2},
        **SIZES,
    }
    config = AdapterSearchConfig(**{**given, **fields})
    with start_run("adapter_search", config, root=root) as record:
        tables = compute("adapter_search", config, record)
        for name, table in tables.items():
            record.save_table(name, table)
    return record.folder, tables, config


@pytest.mark.slow
def test_a_search_chooses_on_dev_and_measures_the_best_on_test(tmp_path):
    folder, tables, config = searched(tmp_path)
    rows = read_summary(folder)
    assert [row["trial"] for row in rows[:3]] == [0, 1, 2]
    assert rows[-1]["status"] == "best"
    assert rows[-1]["score"] == tables["trials"].score.max()
    assert tables["best"].split.tolist() == ["test"]
    assert Recipe.load(folder / "best.yaml").coefficients is not None
    again, found, _ = searched(tmp_path)
    pd.testing.assert_frame_equal(found["trials"], tables["trials"])  # folders, too: found again
    warm = {"warm_start": (str(folder),), "search": {"budget": 1, "n_start": 2, "seed": 1}}
    _, warmed, _ = searched(tmp_path, **warm)
    assert warmed["trials"].warm.tolist() == [True] * 3 + [False]
    new = warmed["trials"].parameters.iloc[-1]
    assert new not in set(tables["trials"].parameters)
    assert search_analysis.summary(tables, config).startswith("3 trials (0 failed, 0 known before)")


def test_a_recovery_without_a_value_is_a_dash_with_the_reason():
    scores = {"metric": "accuracy", "base": 0.0, "expert": 0.0, "merged": 0.0, "n": 5}
    why = "the expert 'differences' is no better than the base"
    rows = [
        {"task": "a", "recovery": math.nan, "low": math.nan, "high": math.nan, "reason": why},
        {"task": "b", "recovery": 0.5, "low": math.nan, "high": math.nan, "reason": "too few"},
        {"task": "c", "recovery": 0.25, "low": 0.1, "high": 0.4, "reason": None},
    ]
    table = pd.DataFrame([scores | row for row in rows]).astype({"reason": object})
    first, *lines = adapters_analysis.summary(
        {"recovery": table}, AdaptersConfig(recipe=RECIPE, **SIZES)
    ).splitlines()
    assert first.startswith("worst recovery -, mean - (undefined for a)")
    endings = (f"- ({why})", "0.50 (too few)", "0.25 (95 % 0.10 to 0.40)")
    assert [line.partition("; recovery ")[2] for line in lines] == [
        f"{ending}, n = 5" for ending in endings
    ]
    trial = {"trial": 0, "parameters": "{}", "recoveries": '{"a": -1.0}', "score": -math.inf}
    trials = pd.DataFrame([trial | {"mean": -1.0, "status": "finished", "warm": False}])
    config = AdapterSearchConfig(recipe=RECIPE.with_fields(coefficients=None), **SIZES)
    text = search_analysis.summary({"trials": trials, "best": table}, config)
    assert "worst - (undefined: a recovery is negative)" in text
    words = ", ".join(f"{name} {one}" for name, one in zip("abc", endings, strict=True))
    assert text.endswith(f"  test: {words}")


def test_choosing_on_test_is_refused_and_names_are_checked():
    refused = partial(AdapterSearchConfig, recipe=RECIPE.with_fields(coefficients=None), **SIZES)
    with pytest.raises(ValidationError, match="allow_test_selection"):
        refused(split="test")
    assert refused(split="test", allow_test_selection=True).split == "test"
    with pytest.raises(ValidationError, match="no adapter has this name"):
        refused(space={"coefficient.products": {"low": 0, "high": 1}})
    with pytest.raises(ValidationError, match="recipe.FIELD"):
        refused(space={"recipe.alfa": {"low": 0, "high": 1}})


def test_parameters_become_rows_of_coefficients():
    recipe = RECIPE.with_fields(coefficients=None, alpha=1.0)
    values = {"coefficient.differences": 0.2, "coefficient.two_step_programs.mlp": 0.9}
    found = varied_recipe(recipe, values, DONORS)
    assert [(one.filter, one.value) for one in found.coefficients] == [
        ("mlp", (0.9, 0.2)),
        (None, (0.5, 0.2)),
    ]
    other = varied_recipe(
        recipe, {"recipe.operator": "ties", "recipe.operator_args.density": 0.3}, DONORS
    )
    assert (other.operator, other.operator_args) == ("ties", {"density": 0.3})


def test_a_search_in_the_other_format_is_read(tmp_path):
    path = tmp_path / "search.yaml"
    content = {
        "host": "tiny-instruct",
        "adapters": list(DONORS),
        "method": "weighted_delta",
        "search": {
            "type": "bayes",
            "budget": 10,
            "init_points": 4,
            "space": {"lambda": {"type": "float", "min": 0.0, "max": 1.0}},
        },
        "constraint_nonnegative": True,
        "split": "test",
    }
    path.write_text(json.dumps(content))
    config = AdapterSearchConfig(reference=path, tasks=SIZES["tasks"], search={"budget": 5})
    assert (config.search.type, config.search.budget, config.search.n_start) == ("gp", 5, 4)
    assert (config.search.constraint_nonnegative, config.split) == (True, "dev")
    trial = config.trial({"method_params.lambda": 0.25})
    assert trial.recipe.coefficients == (0.25, 0.75)
    assert (trial.recipe.donors, trial.split) == (DONORS, "dev")
    path.write_text(json.dumps(content | {"search": {"type": "bayes", "rounds": 3}}))
    with pytest.raises(ValidationError, match="search.rounds is unknown"):
        AdapterSearchConfig(reference=path)
