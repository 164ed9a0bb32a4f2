"""The similarity analysis: closed forms at the merged block, resuming, files, and bad input."""

import json
from functools import partial

import pandas as pd
import pytest
import torch

import lm_merge as lm
from analyses.running.command import command
from analyses.running.options import parse_config
from analyses.similarity import analysis as similarity
from analyses.similarity.config import SimilarityConfig
from lm_merge.evaluation import question_set
from lm_merge.metrics import arc_ratio, linear_cka
from lm_merge.runs.record import start_run
from lm_merge.sites import record_resid_post

ALONE = {"compare_with": ()}
PAIR = {"host": "tiny-instruct", "donors": ("tiny-thinker",)}
QUARTER = {**PAIR, "layers": (3,), "alpha": 0.25}
SMALL = {"recipe": QUARTER, "n_prompts": 8, "batch_size": 3, "alphas": (0.75,), **ALONE}


@pytest.fixture(scope="module")
def tables():
    return similarity.run(SimilarityConfig(**{**SMALL, "n_prompts": 24}))


def values(table: pd.DataFrame, metric: str, **where) -> pd.Series:
    rows = table[table.metric == metric]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows.value


def test_every_block_alpha_and_metric_has_one_row_with_its_n(tables):
    table = tables["similarity"]
    assert len(table) == 8 * 2 * (3 + 6)
    assert not table.duplicated(["layer", "alpha", "metric"]).any()
    of_texts = table.metric.str.startswith("cka_biased")
    assert (table.n[~of_texts] > 300).all()
    assert (table.n[of_texts] == 24).all()
    defined = table.value.notna() & (table.metric != "arc_ratio")
    assert table[defined].standard_error.notna().all()


def test_slerp_travels_alpha_of_the_arc_at_the_merged_block(tables):
    for alpha in (0.25, 0.75):
        ratio = values(tables["similarity"], "arc_ratio", layer=3, alpha=alpha)
        assert ratio.item() == pytest.approx(alpha, abs=1e-4)


def test_below_the_merged_block_the_stream_is_the_hosts(tables):
    below = tables["similarity"].query("layer < 3")
    assert values(below, "arc_ratio").to_numpy() == pytest.approx(0.0, abs=1e-3)
    assert values(below, "cka_biased_host_merged").to_numpy() == pytest.approx(1.0, abs=1e-6)


def test_host_and_donor_do_not_depend_on_alpha(tables):
    pairs = tables["similarity"].query("metric == 'cka_debiased_host_donor'")
    assert (pairs.groupby("layer").value.nunique() == 1).all()


@pytest.mark.slow
def test_streamed_values_are_those_of_all_tokens_at_once(tiny_instruct, tiny_thinker):
    tables = similarity.run(SimilarityConfig(**SMALL))
    by_category = [question.prompt for question in question_set(2)]
    prompts = [by_category[c * 2 + i] for i in range(2) for c in range(4)]
    rows = {"host": [], "donor": []}
    for prompt in prompts:  # one by one: no padding, no batches
        ids = tiny_instruct.to_tokens(prompt, chat=True)
        for name, model in (("host", tiny_instruct), ("donor", tiny_thinker)):
            rows[name].append(record_resid_post(model, ids.input_ids, ids.attention_mask)[5, 0])
    host, donor = torch.cat(rows["host"]), torch.cat(rows["donor"])
    within = [linear_cka(*parts, "biased") for parts in zip(*rows.values(), strict=True)]
    expected = {"debiased": linear_cka(host, donor), "biased": sum(within) / len(within)}
    for estimator, value in expected.items():
        got = values(tables["similarity"], f"cka_{estimator}_host_donor", layer=5, alpha=0.25)
        assert got.item() == pytest.approx(value, abs=1e-4)


def test_paths_lie_in_one_plane_for_all_streams(tables):
    paths = tables["paths"]
    assert set(paths.stream) == {"host", "donor", "merged 0.25", "merged 0.75"}
    assert (paths.groupby("stream").layer.nunique() == 8).all()
    below = paths[paths.layer < 3].set_index(["stream", "layer"])
    difference = below.loc["host"][["pc1", "pc2"]] - below.loc["merged 0.25"][["pc1", "pc2"]]
    assert difference.abs().to_numpy().max() < 1e-3


@pytest.mark.slow
def test_the_command_writes_a_record_and_finds_it_the_second_time(tmp_path, capsys):
    arguments = ["--runs", str(tmp_path), "--n_prompts", "4", "--alphas", "[0.5]"]
    arguments += ["--compare_with", "[logits:soft]"]
    command("similarity", arguments)
    first = capsys.readouterr().out
    (folder,) = tmp_path.iterdir()
    record = json.loads((folder / "record.json").read_text())
    assert record["status"] == "finished"
    assert record["config_given"]["n_prompts"] == 4
    assert "recipe" not in record["config_given"]
    assert record["config_resolved"]["recipe"]["host"] == "tiny-instruct"
    assert "the unembedding differs; the host's is used" in record["notes"]
    assert (folder / "similarity_by_layer.html").is_file()
    assert (folder / "output_divergence_by_space.html").is_file()
    what, *lines = first.splitlines()
    assert what.startswith("similarity: tiny-instruct + tiny-thinker, latents slerp 0.5 at block 3")
    assert [line.split(",")[0] for line in lines[:2]] == [
        "latents slerp",
        "logits soft",
    ]
    stamp = (folder / "similarity.parquet").stat().st_mtime_ns
    command("similarity", arguments)
    assert capsys.readouterr().out == first
    assert (folder / "similarity.parquet").stat().st_mtime_ns == stamp
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.slow
def test_prompts_come_from_a_file_and_last_measures_one_token_each(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("12+34 = ?\n\nWhat is the capital of Norway?\n")
    table = similarity.run(
        SimilarityConfig(**{**SMALL, "prompts": path, "recipe": {**QUARTER, "positions": "last"}})
    )
    rows = table["similarity"]
    of_texts = rows.metric.str.startswith("cka_biased")
    assert set(rows.n[~of_texts]) == {2}
    assert rows.value[of_texts].isna().all()  # one token a text
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"prompts.txt holds no line of text"):
        similarity.run(SimilarityConfig(**{**SMALL, "prompts": path}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--alphas", "0.5"], "alphas"),
        (["--n_prompts", "0"], "greater than 0"),
        (["--operatr", "lerp"], "unrecognized arguments: --operatr"),
        (["--compare_with", "[weights]"], "give 'weights:<operator>' or 'logits:<method>'"),
        (["--config", "nope.yaml"], "nope.yaml"),
    ],
)
def test_bad_arguments_end_with_status_2_and_say_which_in_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        command("similarity", arguments)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "--help" in error


@pytest.mark.slow
def test_changed_inputs_are_measured_anew(tmp_path, capsys):
    path = tmp_path / "prompts.txt"
    arguments = ["--runs", str(tmp_path / "runs"), "--prompts", str(path), "--alphas", "[0.5]"]
    arguments += ["--compare_with", "[]"]
    outputs = []
    for text in ("12+34 = ?\n", "12+34 = ?\n", "Who is the tallest?\n"):
        path.write_text(text)
        command("similarity", arguments)
        captured = capsys.readouterr()
        outputs.append((captured.out, "found the finished run" in captured.err))
    assert [found for _, found in outputs] == [False, True, False]
    assert outputs[0][0] == outputs[1][0] != outputs[2][0]
    command("similarity", [*arguments, "--fresh", "true"])
    assert "found the finished run" not in capsys.readouterr().err
    assert len(list((tmp_path / "runs").iterdir())) == 3


@pytest.mark.slow
def test_the_record_names_every_model_with_a_fingerprint(tmp_path):
    recipe = {"host": "tiny-thinker", "donors": ("tiny-coder",), "operator": "task_vector"}
    recipe |= {"base": "tiny-instruct", "layers": (3,), "alpha": 0.5}
    config = SimilarityConfig(**{**SMALL, "recipe": recipe})
    with start_run("similarity", config, root=tmp_path) as run:
        similarity.run(config, run)
    models = json.loads((run.folder / "record.json").read_text())["models"]
    assert set(models) == {"tiny-thinker", "tiny-coder", "tiny-instruct"}
    assert len(set(models.values())) == 3
    assert all(models.values())


@pytest.mark.slow
def test_merges_in_other_spaces_stand_next_to_the_recipes_own(tables):
    config = SimilarityConfig(**{**SMALL, "n_prompts": 24, "compare_with": None})
    both = similarity.run(config)
    assert set(map(tuple, both["output"][["space", "operator"]].to_numpy())) == {
        ("latents", "slerp"),
        ("weights", "lerp"),
        ("weights", "slerp"),
        ("logits", "soft"),
    }
    assert set(both["similarity"].space) == {"latents", "weights"}  # an ensemble has no stream
    own = similarity.of_first_merge(both["similarity"])
    pd.testing.assert_frame_equal(own, tables["similarity"])
    names = [name for name, _, _ in similarity.draw(both, config)]
    assert {"similarity_by_space", "output_divergence_by_space"} <= set(names)
    assert "similarity_by_space" not in [name for name, _, _ in similarity.draw(tables, config)]


@pytest.mark.slow
def test_an_ensemble_is_measured_by_what_it_says(tables):
    recipe = {**PAIR, "space": "logits", "operator": "soft", "alpha": 0.25}
    config = SimilarityConfig(**{**SMALL, "n_prompts": 24, "recipe": recipe})
    alone = similarity.run(config)
    assert set(alone) == {"output"}
    output = alone["output"].set_index(["metric", "alpha"]).value
    assert output["js_host", 0.25] < output["js_host", 0.75]
    assert output["js_donor", 0.25] > output["js_donor", 0.75]
    assert [name for name, _, _ in similarity.draw(alone, config)] == ["output_divergence_by_space"]


def test_other_models_are_compared_with_nothing_unless_asked():
    recipe = {"host": "some/model", "donors": ("other/model",), "layers": (3,), "alpha": 0.5}
    assert SimilarityConfig(recipe=recipe).compared_recipes() == []
    asked = {**recipe, "operator": "task_vector", "base": "ancestor"}
    config = SimilarityConfig(recipe=asked, compare_with=("weights:ties",))
    (other,) = config.compared_recipes()
    assert (other.space, other.operator, other.base) == ("weights", "ties", "ancestor")
    by_block = {**asked, "donor_weights": {3: (1.0,)}}
    with pytest.raises(ValueError, match="merges of full models take one weight a donor"):
        SimilarityConfig(recipe=by_block, compare_with=("weights:ties",))


@pytest.mark.slow
def test_lambda_gives_the_recipes_alpha_and_further_ones_replace_it():
    recipe = {**PAIR, "layers": (3,), "operator": "regmean", "operator_args": {"lambda_reg": 3.0}}
    table = similarity.run(SimilarityConfig(**{**SMALL, "recipe": recipe}))["similarity"]
    assert sorted(table.alpha.unique()) == [0.25, 0.75]
    assert len(table) == 8 * 2 * (3 + 6)


def by_hand(merge: lm.LatentMerge, prompts: list[str], layer: int) -> float:
    """Mean arc ratio at one block, text by text."""
    found = []
    for prompt in prompts:
        ids = merge.host.to_tokens(prompt, chat=True)
        read = partial(record_resid_post, tokens=ids.input_ids, attention_mask=ids.attention_mask)
        host, donor = (read(model)[layer, 0] for model in (merge.host, merge.donors[0]))
        with merge.hooks():
            merged = read(merge.host)[layer, 0]
        found.append(arc_ratio(host, donor, merged))
    return float(torch.cat(found).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "amounts",
    [{"layers": {3: 0.5, 5: 0.75}}, {"layers": (3, 5), "alpha": 0.9}],
    ids=["an alpha a block", "one alpha"],
)
def test_the_recipe_given_is_the_merge_measured(
    tmp_path, capsys, tiny_instruct, tiny_thinker, amounts
):
    file, prompts = tmp_path / "recipe.yaml", ["12+34 = ?", "Who is the tallest?"]
    lm.Recipe(**PAIR, **amounts).save(file)
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    arguments = ["--recipe", str(file), "--prompts", str(tmp_path / "prompts.txt")]
    arguments += ["--alphas", "[0.25]", "--runs", str(tmp_path / "runs")]
    command("similarity", [*arguments, "--compare_with", "[]"])
    words = "0.5 at block 3, 0.75 at block 5" if "alpha" not in amounts else "0.9 at blocks 3, 5"
    out = capsys.readouterr().out
    assert f"latents slerp {words}; also at alpha 0.25" in out.splitlines()[0]
    (folder,) = (tmp_path / "runs").iterdir()
    table = pd.read_parquet(folder / "similarity.parquet").query("metric == 'arc_ratio'")
    own = table[table.alpha.isna()] if "alpha" not in amounts else table[table.alpha == 0.9]
    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, **amounts)
    for layer in (3, 5, 7):
        expected = by_hand(merge, prompts, layer)
        assert own[own.layer == layer].value.item() == pytest.approx(expected, abs=1e-4)
    assert set(table.alpha.dropna()) == {0.25} | ({0.9} if "alpha" in amounts else set())
    findings = json.loads((folder / "summary.json").read_text())
    keys = ["space", "operator", "alpha", "layer", "metric", "value", "low", "high", "n"]
    assert all(list(row) == keys for row in findings)
    assert {row["alpha"] for row in findings} == {0.25, amounts.get("alpha")}
    assert (folder / "similarity_by_layer.html").is_file()


def test_fields_of_the_recipe_are_changed_one_by_one(tmp_path):
    file = tmp_path / "recipe.yaml"
    lm.Recipe(**PAIR, layers={3: 0.25}, positions="last").save(file)
    options = ["--recipe", str(file), "--recipe.operator=lerp", "--recipe.layers", "[5]"]
    config, given = parse_config(SimilarityConfig, options, prog="here", description="")
    assert config.recipe == lm.Recipe(
        **PAIR, layers=(5,), alpha=0.25, positions="last", operator="lerp"
    )
    assert given["recipe"]["operator"] == "lerp"
    config, _ = parse_config(
        SimilarityConfig, ["--recipe.alpha", "0.3"], prog="here", description=""
    )
    assert config.recipe == lm.Recipe(**PAIR, layers=(3,), alpha=0.3)


def test_a_recipe_given_as_the_configuration_is_refused_in_one_line(tmp_path, capsys):
    file = tmp_path / "recipe.yaml"
    lm.Recipe(**QUARTER).save(file)
    with pytest.raises(SystemExit, match="2"):
        command("similarity", ["--config", str(file)])
    error = capsys.readouterr().err
    assert f"give it as --recipe {file}" in error
    assert error.count("\n") == 1
    whole = tmp_path / "whole.yaml"
    whole.write_text(f"recipe: {file}\nn_prompts: 5\n")
    config, _ = parse_config(
        SimilarityConfig, ["--config", str(whole)], prog="here", description=""
    )
    assert (config.n_prompts, config.recipe) == (5, lm.Recipe(**QUARTER))
