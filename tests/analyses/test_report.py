"""The report and the command that makes it, at small size."""

import re
from typing import Any

import pytest

from analyses.report.config import ReportConfig
from lm_merge import cli


@pytest.mark.slow  # every analysis once
def test_the_report_is_one_page_with_all_figures_and_true_numbers(small_report):
    *_, path, tables = small_report
    html = path.read_text()
    assert html.count('class="plotly-graph-div') == 14
    assert "Block 7: K_g median" in html  # a capital at the start, and only there
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", html)
    grid = {"layerwise", "signal_ranks"}
    curvature = {"curvature", "curvature_tokens", "curvature_strip", "curvature_correlations"}
    own = {"answers", "accuracy", "spaces", "similarity", "output", "paths"}
    assert set(tables) == own | grid | curvature
    accuracy, answers = tables["accuracy"], tables["answers"]
    assert list(accuracy.system.unique()) == [
        "host tiny-instruct",
        "donor tiny-thinker",
        "merged 0.5",
        "merged 0.75",
    ]
    assert len(answers) == 4 * 4
    overall = accuracy[accuracy.category == "Overall"].set_index("system").accuracy_frac
    parts = accuracy[accuracy.category != "Overall"].groupby("system").accuracy_frac.mean()
    assert overall.to_dict() == pytest.approx(parts.to_dict())
    assert list(tables["spaces"].system.unique()) == [
        "host tiny-instruct",
        "donor tiny-thinker",
        "latents slerp 0.5",
        "latents lerp 0.5",
        "weights lerp 0.5",
        "weights slerp 0.5",
        "logits soft 0.5",
        "logits mean 0.5",
        "weights task_arithmetic, trio",
        "weights ties, trio",
    ]
    assert not tables["spaces"].duplicated(["system", "category"]).any()


def test_the_generate_command_prints_what_the_merge_says(tmp_path, capsys):
    recipe = tmp_path / "host_alone.yaml"
    recipe.write_text("host: tiny-instruct\ndonors: [tiny-thinker]\nlayers: [3]\nalpha: 0.0\n")
    cli.main(["generate", str(recipe), '["What is the capital of Norway?"]'])
    assert capsys.readouterr().out == "Oslo\n"


def test_the_generate_command_takes_every_space_and_a_model_alone(tmp_path, capsys):
    recipe = tmp_path / "ensemble.yaml"
    recipe.write_text("space: logits\nhost: tiny-instruct\ndonors: [tiny-thinker]\nalpha: 0.1\n")
    for source in (str(recipe), "tiny-instruct"):
        cli.main(["generate", source, "What is the capital of Norway?"])
        assert capsys.readouterr().out == "Oslo\n"


def test_recipes_of_other_spaces_keep_what_they_have_a_place_for():
    recipe: dict[str, Any] = {
        "host": "tiny-instruct",
        "donors": ("tiny-thinker", "tiny-coder"),
        "layers": {3: 0.5},
        "donor_weights": (0.9, 0.1),
        "accept": ("rope",),
        "donor_stream": "coupled",
        "positions": "last",
    }
    recipes = ReportConfig(recipe=recipe).other_recipes()
    assert {one.donor_weights for one in recipes.values()} == {(0.9, 0.1)}
    for one in recipes.values():
        assert one.accept == (() if one.space == "weights" else ("rope",))
        if one.space == "latents":
            assert (one.positions, one.donor_stream) == ("last", "coupled")
    by_block = {**recipe, "donor_weights": {3: (0.5, 0.5)}}
    with pytest.raises(ValueError, match="parts by block are for space 'latents'"):
        ReportConfig(recipe=by_block)
    assert ReportConfig(recipe=by_block, other_spaces=False).recipe.donor_weights


RECIPE = "host: tiny-instruct\ndonors: [tiny-thinker]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layers: [31]\nalpha: 0.5\n", "layer=31 is outside 0..7 for host 'tiny-instruct'"),
        ("layers: [3]\nalpha: 0.5\noperator: slrp\n", "unknown operator 'slrp'; choose from"),
        ("layers: [3]\nalpha: 0.5\noperator_args: {foo: 1}\n", "operator_args=['foo'] are unknown"),
        ("layers: [3\n", "is no plain YAML: expected ',' or ']'"),
    ],
)
def test_errors_that_a_user_can_mend_are_one_line(tmp_path, capsys, text, message):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE + text)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["generate", str(recipe), '["Hello"]'])
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert error.startswith("lm-merge: ")
    assert error.count("\n") == 1
    assert message in error


def test_the_command_alone_shows_its_help_and_a_wrong_word_is_one_line(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([])
    assert "demo" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        cli.main(["generat"])
    error = capsys.readouterr().err
    assert "invalid choice: 'generat'" in error
    assert error.count("\n") == 1


def test_prompts_that_are_none_end_in_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["generate", "tiny-instruct", "[]"])
    assert "prompt=[] is empty; give a text" in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["generate", str(tmp_path / "nope.yaml"), '["Hello"]'])
    assert "nope.yaml" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_says_what_it_did_and_where_the_report_lies(small_report, capsys, monkeypatch):
    config, output, path, _ = small_report
    monkeypatch.setattr("analyses.report.config.ReportConfig", lambda: config)
    cli.main(["demo", "--runs", str(output.runs)])
    captured = capsys.readouterr()
    assert "donor tiny-thinker" in captured.out
    assert "merged 0.75" in captured.out
    assert "found the finished run" in captured.err
    assert captured.out.strip().splitlines()[-1] == str(path.resolve())
    assert "Two models in one residual stream" in path.read_text()
