"""The curvature analysis: its losses are those of merges, its bound holds; files; bad input."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn.functional import cross_entropy

import lm_merge as lm
from analyses.curvature import analysis as curvature
from analyses.curvature.config import CurvatureConfig
from analyses.curvature.summary_table import gap_rank_correlations, summary_table
from analyses.running.command import command
from lm_merge.evaluation import question_set

PAIR = {"host": "tiny-instruct", "donors": ("tiny-thinker",), "operator": "lerp"}
SMALL = {"recipe": {**PAIR, "layers": {6: 0.25}}, "layers": (7,), "alphas": (0.75,)}
SMALL |= {"n_texts": 4, "batch_size": 3}
SMALL |= {"n_points": 8}


@pytest.fixture(scope="module")
def tables():
    return curvature.run(CurvatureConfig(**SMALL))


def test_every_answer_token_has_a_row_at_each_block_and_alpha(tables, tiny_instruct):
    tokens = tables["tokens"]
    questions = question_set(1)
    tokenize = tiny_instruct.tokenizer
    n_answer = [
        len(tokenize(one.answer, add_special_tokens=False).input_ids) + 1 for one in questions
    ]
    assert list(tokens.groupby("text").size()) == [4 * n for n in n_answer]  # 2 blocks, 2 alphas
    assert not tokens.duplicated(["text", "position", "layer", "alpha"]).any()
    assert set(tokens.operator) == {"lerp"}


def test_losses_are_those_of_both_models_and_of_merges_one_by_one(
    tables, tiny_instruct, tiny_thinker
):
    host, donor = tiny_instruct, tiny_thinker
    merge = lm.LatentMerge(host, donor, operator="lerp", layers=[6], alpha=0.75)
    found = {"loss_host": [], "loss_donor": [], "loss_merged": []}
    for question in question_set(1):
        prompt = host.to_tokens(question.prompt, chat=True).input_ids
        answer = host.tokenizer(f"{question.answer}<|im_end|>", add_special_tokens=False)
        ids = torch.cat([prompt, torch.tensor([answer.input_ids])], dim=1)
        with torch.no_grad():
            for name, logits in (
                ("loss_host", host.native(ids).logits),
                ("loss_donor", donor.native(ids).logits),
                ("loss_merged", merge(ids)),
            ):
                losses = cross_entropy(logits[0, :-1], ids[0, 1:], reduction="none")
                found[name] += losses[prompt.shape[1] - 1 :].tolist()
    rows = tables["tokens"].query("layer == 6 and alpha == 0.75").sort_values(["text", "position"])
    for name, values in found.items():
        assert rows[name].to_numpy() == pytest.approx(values, abs=1e-4)
    assert rows.head_mismatch_nats.to_numpy() == pytest.approx(
        (rows.loss_ends - rows.loss_donor).abs().to_numpy()
    )
    gap = rows.loss_merged - 0.25 * rows.loss_host - 0.75 * rows.loss_ends
    assert rows.gap_nats.to_numpy() == pytest.approx(gap.to_numpy(), abs=1e-5)


def test_the_bound_holds_and_the_closed_form_lies_above_k_g(tables):
    table, tokens = tables["curvature"], tables["tokens"]
    assert (table[table.metric == "holds_frac"].value == 1.0).all()
    last, earlier = tokens[tokens.layer == 7], tokens[tokens.layer == 6]
    assert (last.k_g <= last.k_g_closed_form).all()
    assert earlier.k_g_closed_form.isna().all()
    bound = 0.5 * tokens.alpha * (1 - tokens.alpha) * tokens.curvature_nats
    assert tokens.bound_nats.to_numpy() == pytest.approx(bound.to_numpy())


def test_the_summary_is_of_all_tokens_with_n_and_intervals(tables):
    table, tokens = tables["curvature"], tables["tokens"]
    assert not table.duplicated(["layer", "alpha", "metric", "statistic"]).any()
    once = tokens.query("layer == 7 and alpha == 0.25")
    of_layer = table[(table.layer == 7) & ~(table.alpha == 0.75)]
    rows = of_layer.set_index(["metric", "statistic"])
    mean = rows.loc[("k_g", "mean")]
    assert mean.value == pytest.approx(once.k_g.mean())
    assert mean.low < mean.value < mean.high
    assert mean.n == len(once)
    assert np.isnan(mean.alpha)
    assert rows.value[("k_g", "median")] == pytest.approx(once.k_g.median())
    pooled = rows.value[("tightness", "pooled")]
    clear = once[once.bound_nats > once.float_error_nats]
    assert pooled == pytest.approx(clear.gap_nats.sum() / clear.bound_nats.sum())


def test_rank_correlations_are_scipys_and_have_intervals(tables):
    ranks = tables["correlations"].set_index("over")
    tokens = tables["tokens"]
    means = tokens.groupby(["layer", "alpha"])[["bound_nats", "gap_nats"]].mean()
    expected = spearmanr(means.bound_nats, means.gap_nats).statistic
    assert ranks.spearman["blocks and alphas"] == pytest.approx(expected)
    assert ranks.n["blocks and alphas"] == 4
    assert (ranks.low <= ranks.high).all()
    perfect = tokens.assign(gap_nats=2 * tokens.bound_nats)
    assert gap_rank_correlations(perfect).spearman.to_numpy() == pytest.approx(1.0)
    one = gap_rank_correlations(perfect[perfect.text == perfect.text.iloc[0]])
    assert one[["low", "high"]].isna().all(axis=None)  # one text says nothing of others
    constant = gap_rank_correlations(tokens.assign(gap_nats=0.0))
    assert constant.spearman.isna().all()


def test_a_violated_bound_shows_in_the_share(tables):
    tokens = tables["tokens"].copy()
    tokens.loc[tokens.index[0], "gap_nats"] = tokens.bound_nats.max() + 1
    held = summary_table(tokens).query("metric == 'holds_frac'").value
    assert (held < 1).sum() == 1


def test_tokens_without_a_bound_do_not_count_as_violated(tables):
    tokens = tables["tokens"].copy()
    tokens.loc[tokens.index[0], "bound_nats"] = float("nan")
    held = summary_table(tokens).query("metric == 'holds_frac'")
    whole = tables["curvature"].query("metric == 'holds_frac'")
    assert (held.value == 1.0).all()
    assert held.n.sum() == whole.n.sum() - 1


def test_a_model_with_itself_has_no_bound_to_hold():
    given = SMALL | {"recipe": {**PAIR, "donors": ["tiny-instruct"], "layers": {7: 0.25}}}
    given |= {"n_texts": 1}
    tables = curvature.run(CurvatureConfig(**given))
    held = tables["curvature"].query("metric == 'holds_frac'")
    assert held.value.isna().all()
    assert (held.n == 0).all()
    assert "no token has a bound" in curvature.summary(tables)
    assert (tables["correlations"].n == 0).all()
    assert tables["correlations"].spearman.isna().all()


def test_rank_correlations_leave_out_tokens_without_a_bound(tables):
    tokens = tables["tokens"]
    whole = gap_rank_correlations(tokens).set_index("over")
    extra = tokens.iloc[[0]].assign(bound_nats=float("nan"), gap_nats=1e6)
    pd.testing.assert_frame_equal(
        gap_rank_correlations(pd.concat([tokens, extra])).set_index("over"), whole
    )
    one_text = (tokens.text == 0) & (tokens.layer == 7)
    some = gap_rank_correlations(tokens.assign(bound_nats=tokens.bound_nats.mask(one_text)))
    assert some.spearman.notna().all()
    assert (some.low <= some.high).all()
    assert list(some.n) == [
        4,
        len(tokens) - one_text.sum(),
        (tokens.layer == 7).sum() - one_text.sum(),
    ]


def test_the_strip_holds_every_token_of_the_first_text(tables):
    strip = tables["strip"]
    of_cell = strip.query("layer == 7 and alpha == 0.25")
    assert list(of_cell.position) == list(range(1, len(of_cell) + 1))
    scored = tables["tokens"].query("text == 0 and layer == 7 and alpha == 0.25")
    joined = scored.merge(of_cell, on="position")
    assert len(joined) == len(scored)
    assert joined.k_g_x.to_numpy() == pytest.approx(joined.k_g_y.to_numpy(), rel=1e-3)


@pytest.mark.slow
def test_texts_without_answers_are_scored_throughout_and_last_merges_their_end(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("The capital of Norway is Oslo.\n\n12+34 = 46\n")
    at_last = {**PAIR, "layers": {7: 0.25}}
    given = SMALL | {"texts": path, "recipe": at_last, "dtype": "bfloat16"}
    tokens = curvature.run(CurvatureConfig(**given))["tokens"]
    assert set(tokens.text) == {0, 1}
    assert tokens.query("alpha == 0.25").groupby("text").position.min().tolist() == [1, 1]
    assert (tokens.gap_nats <= tokens.bound_nats + tokens.float_error_nats).all()
    last = curvature.run(CurvatureConfig(**given | {"recipe": {**at_last, "positions": "last"}}))[
        "tokens"
    ]
    assert last.k_g.isna().all()  # no scored token follows the last one, where alone is merged
    assert (last.sq_distance == 0).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"recipe": {**PAIR, "layers": {3: 0.5}, "operator": "slerp"}},
            "leaves the straight segment",
        ),
        ({"recipe": {**PAIR, "donors": ["b", "c"], "layers": {3: 0.5}}}, "give one"),
        ({"recipe": {**PAIR, "layers": {3: 1.0}}}, r"alphas=\[1.0\] must lie strictly between"),
        ({"n_points": 4}, "greater than or equal to 8"),
        ({"recipe": {**PAIR, "space": "logits", "operator": "soft"}}, "recipe of space 'latents'"),
    ],
)
def test_what_the_bound_is_not_about_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        CurvatureConfig(**given)


@pytest.mark.slow
def test_the_command_writes_a_record_and_finds_it_the_second_time(tmp_path, capsys):
    arguments = ["--runs", str(tmp_path), "--n_texts", "2", "--layers", "[7]", "--n_points", "8"]
    arguments += ["--recipe.layers", "[6]"]
    command("curvature", arguments)
    first = capsys.readouterr().out
    assert "the bound holds on every token" in first
    (folder,) = tmp_path.iterdir()
    record = json.loads((folder / "record.json").read_text())
    assert record["status"] == "finished"
    assert {"curvature_by_layer.html", "tokens.parquet", "strip.parquet"} <= {
        path.name for path in folder.iterdir()
    }
    assert pd.read_parquet(folder / "curvature.parquet").n.gt(0).any()
    command("curvature", arguments)
    captured = capsys.readouterr()
    assert captured.out == first
    assert "found the finished run" in captured.err
