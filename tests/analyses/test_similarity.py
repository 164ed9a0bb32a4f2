"""The similarity analysis: closed forms at the merged block, resuming, files, and bad input."""

import json

import pandas as pd
import pytest
import torch

from analyses import similarity
from analyses.similarity import SimilarityConfig
from lm_merge.evaluation import question_set
from lm_merge.metrics import linear_cka
from lm_merge.runs.record import start_run
from lm_merge.sites import record_resid_post

ALONE = {"beside": ()}
SMALL = {"n_prompts": 8, "batch_size": 3, "layers": (3,), "alphas": (0.25, 0.75), **ALONE}


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


def test_the_command_writes_a_record_and_finds_it_the_second_time(tmp_path, capsys):
    arguments = ["--runs", str(tmp_path), "--n_prompts", "4", "--alphas", "[0.5]"]
    arguments += ["--beside", "[logits:soft]"]
    similarity.main(arguments)
    first = capsys.readouterr().out
    (folder,) = tmp_path.iterdir()
    record = json.loads((folder / "record.json").read_text())
    assert record["status"] == "finished"
    assert record["config_given"]["n_prompts"] == 4
    assert "host" not in record["config_given"]
    assert record["config_resolved"]["host"] == "tiny-instruct"
    assert "the unembedding differs; the host's is used" in record["notes"]
    assert (folder / "similarity_by_layer.html").is_file()
    assert (folder / "output_divergence_by_space.html").is_file()
    assert [line.split(",")[0] for line in first.splitlines()[:2]] == [
        "latents slerp",
        "logits soft",
    ]
    stamp = (folder / "similarity.parquet").stat().st_mtime_ns
    similarity.main(arguments)
    assert capsys.readouterr().out == first
    assert (folder / "similarity.parquet").stat().st_mtime_ns == stamp
    assert list(tmp_path.iterdir()) == [folder]


def test_prompts_come_from_a_file_and_last_measures_one_token_each(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("12+34 = ?\n\nWhat is the capital of Norway?\n")
    table = similarity.run(SimilarityConfig(**{**SMALL, "prompts": path, "positions": "last"}))
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
        (["--beside", "[weights]"], "give 'weights:<operator>' or 'logits:<method>'"),
        (["--config", "nope.yaml"], "nope.yaml"),
    ],
)
def test_bad_arguments_end_with_status_2_and_say_which_in_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        similarity.main(arguments)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "--help" in error


def test_changed_inputs_are_measured_anew(tmp_path, capsys):
    path = tmp_path / "prompts.txt"
    arguments = ["--runs", str(tmp_path / "runs"), "--prompts", str(path), "--alphas", "[0.5]"]
    arguments += ["--beside", "[]"]
    outputs = []
    for text in ("12+34 = ?\n", "12+34 = ?\n", "Who is the tallest?\n"):
        path.write_text(text)
        similarity.main(arguments)
        captured = capsys.readouterr()
        outputs.append((captured.out, "found the finished run" in captured.err))
    assert [found for _, found in outputs] == [False, True, False]
    assert outputs[0][0] == outputs[1][0] != outputs[2][0]
    similarity.main([*arguments, "--fresh", "true"])
    assert "found the finished run" not in capsys.readouterr().err
    assert len(list((tmp_path / "runs").iterdir())) == 3


def test_the_record_names_every_model_with_a_fingerprint(tmp_path):
    config = SimilarityConfig(
        **{**SMALL, "host": "tiny-thinker", "donors": ("tiny-coder",), "operator": "task_vector"},
        base="tiny-instruct",
    )
    with start_run("similarity", config, root=tmp_path) as run:
        similarity.run(config, run)
    models = json.loads((run.folder / "record.json").read_text())["models"]
    assert set(models) == {"tiny-thinker", "tiny-coder", "tiny-instruct"}
    assert len(set(models.values())) == 3
    assert all(models.values())


@pytest.mark.slow
def test_merges_in_other_spaces_stand_beside_the_recipes_own(tables):
    both = similarity.run(SimilarityConfig(**{**SMALL, "n_prompts": 24, "beside": None}))
    assert set(map(tuple, both["output"][["space", "operator"]].to_numpy())) == {
        ("latents", "slerp"),
        ("weights", "lerp"),
        ("weights", "slerp"),
        ("logits", "soft"),
    }
    assert set(both["similarity"].space) == {"latents", "weights"}  # an ensemble has no stream
    own = similarity.of_first_merge(both["similarity"])
    pd.testing.assert_frame_equal(own, tables["similarity"])
    names = [name for name, _, _ in similarity.draw(both, (3,))]
    assert {"similarity_by_space", "output_divergence_by_space"} <= set(names)
    assert "similarity_by_space" not in [name for name, _, _ in similarity.draw(tables, (3,))]


def test_an_ensemble_is_measured_by_what_it_says(tables):
    recipe = {"space": "logits", "operator": "soft", "layers": None}
    alone = similarity.run(SimilarityConfig(**{**SMALL, "n_prompts": 24, **recipe}))
    assert set(alone) == {"output"}
    output = alone["output"].set_index(["metric", "alpha"]).value
    assert output["js_host", 0.25] < output["js_host", 0.75]
    assert output["js_donor", 0.25] > output["js_donor", 0.75]
    assert [name for name, _, _ in similarity.draw(alone, ())] == ["output_divergence_by_space"]


def test_other_models_have_nothing_beside_them_unless_asked(tmp_path):
    config = SimilarityConfig(host="some/model", donors=("other/model",))
    assert config.recipes_beside(similarity.USUAL_BESIDE) == []
    asked = config.model_copy(update={"beside": ("weights:ties",), "base": "ancestor"})
    (recipe,) = asked.recipes_beside(similarity.USUAL_BESIDE)
    assert (recipe.space, recipe.operator, recipe.base) == ("weights", "ties", "ancestor")
    by_block = asked.model_copy(update={"donor_weights": {3: (1.0,)}})
    with pytest.raises(ValueError, match="merges of whole models take one weight a donor"):
        by_block.recipes_beside(())


def test_the_alphas_measured_stand_in_for_lambda():
    given = {"operator": "regmean", "operator_args": {"lambda_reg": 3.0}}
    config = SimilarityConfig(**{**SMALL, **given})
    assert similarity.recipe_of(config).operator_args == {}
    assert len(similarity.run(config)["similarity"]) == 8 * 2 * (3 + 6)
