"""The layerwise analysis: its numbers are those of merges one by one; signals; files; bad input."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Categorical, kl_divergence
from torch.nn.functional import cross_entropy

import lm_merge as lm
from analyses import suggest
from analyses.layerwise import analysis as layerwise
from analyses.layerwise.config import LayerwiseConfig
from analyses.layerwise.grid import default_layers, grid_of
from analyses.running.command import command
from analyses.running.counted import counted
from analyses.running.text_choice import prompt_batches
from lm_merge import cli
from lm_merge.evaluation import question_set
from lm_merge.metrics import midness
from lm_merge.runs.record import start_run
from lm_merge.scoring.signals import SIGNALS, rank_correlations
from lm_merge.scoring.teacher_forced import CellScores, run_texts
from lm_merge.sites import record_resid_post
from lm_merge.spaces.compose import compose_latents

PAIR = {"host": "tiny-instruct", "donors": ("tiny-thinker",)}
SMALL = {"recipe": {**PAIR, "operator": "lerp", "layers": {3: 0.25}}}  # one of the grid
SMALL |= {"n_texts": 8, "batch_size": 3, "layers": (3, 7), "alphas": (0.25, 0.75), "n_prompts": 4}


@pytest.fixture(scope="module")
def tables():
    return layerwise.run(LayerwiseConfig(**SMALL, n_questions=1))


def cell(table: pd.DataFrame, metric: str, **where) -> pd.Series:
    for column, value in {"metric": metric, **where}.items():
        table = table[table[column] == value]
    (row,) = [row for _, row in table.iterrows()]
    return row


@pytest.mark.slow
def test_every_cell_and_metric_has_one_row_with_its_n_and_interval(tables):
    table = tables["layerwise"]
    by_space = table.groupby("space").size()
    said, streams, accuracy = 6, 2 + 2, 1
    assert by_space["latents"] == 2 * 3 * 2 * (said + streams + accuracy)
    assert by_space["weights"] == 2 * 2 * (said + streams + accuracy)  # lerp, slerp
    assert by_space["logits"] == 2 * (said + accuracy)
    assert (table.layer.isna() == (table.space != "latents")).all()
    assert not table.duplicated(["layer", "space", "operator", "alpha", "metric"]).any()
    assert (table.n > 0).all()
    one_group = table.metric.str.startswith("cka")  # few tokens: no standard error
    assert (table.low <= table.value)[~one_group].all()
    assert (table.value <= table.high)[~one_group].all()


@pytest.mark.slow
def test_losses_and_divergences_are_those_of_merges_one_by_one(tables, tiny_instruct, tiny_thinker):
    drawn = question_set(2)
    questions = [drawn[category * 2 + i] for i in range(2) for category in range(4)]
    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, operator="slerp", layers=[3], alpha=0.75)
    found = {"loss": [], "loss_answer": [], "kl_host": [], "kl_donor": [], "midness": []}
    for question in questions:  # one by one: no padding, no batches
        prompt = tiny_instruct.to_tokens(question.prompt, chat=True).input_ids
        answer = tiny_instruct.tokenizer(f"{question.answer}<|im_end|>", add_special_tokens=False)
        ids = torch.cat([prompt, torch.tensor([answer.input_ids])], dim=1)
        with torch.no_grad():
            logits = merge(ids)[0]
            parents = [model.native(ids).logits[0] for model in (tiny_instruct, tiny_thinker)]
        losses = cross_entropy(logits[:-1], ids[0, 1:], reduction="none")
        found["loss"] += losses.tolist()
        found["loss_answer"] += losses[prompt.shape[1] - 1 :].tolist()
        for name, parent in zip(("kl_host", "kl_donor"), parents, strict=True):
            spoken = (Categorical(logits=given[:-1]) for given in (logits, parent))
            found[name] += kl_divergence(*spoken).tolist()
        mask = torch.ones_like(ids)
        ends = [record_resid_post(model, ids, mask)[-1] for model in (tiny_instruct, tiny_thinker)]
        with merge.hooks():
            ends.append(record_resid_post(tiny_instruct, ids, mask)[-1])
        found["midness"] += midness(*ends).flatten().tolist()
    for metric, values in found.items():
        row = cell(tables["layerwise"], metric, layer=3, operator="slerp", alpha=0.75)
        assert row.value == pytest.approx(np.mean(values), abs=1e-5)
        assert row.n == len(values)


@pytest.mark.slow
@pytest.mark.parametrize(("space", "operator"), [("weights", "lerp"), ("logits", "soft")])
def test_merges_of_full_models_have_the_losses_that_they_have_alone(tables, space, operator):
    recipe = {"space": space, "operator": operator, "alpha": 0.25}
    merged = lm.compose({"host": "tiny-instruct", "donors": ["tiny-thinker"], **recipe})
    drawn = question_set(2)
    losses = []
    for question in (drawn[category * 2 + i] for i in range(2) for category in range(4)):
        prompt = merged.host.to_tokens(question.prompt, chat=True).input_ids
        answer = merged.host.tokenizer(f"{question.answer}<|im_end|>", add_special_tokens=False)
        ids = torch.cat([prompt, torch.tensor([answer.input_ids])], dim=1)
        with torch.no_grad():
            losses += cross_entropy(merged(ids)[0, :-1], ids[0, 1:], reduction="none").tolist()
    row = cell(tables["layerwise"], "loss", space=space, operator=operator, alpha=0.25)
    assert row.value == pytest.approx(np.mean(losses), abs=1e-5)


@pytest.mark.slow
def test_the_increase_is_the_loss_over_the_hosts(tables):
    parents = tables["parents"].query("system == 'host'").set_index("metric").value
    for metric in ("loss", "loss_answer"):
        of_cell = {"layer": 7, "operator": "lerp", "alpha": 0.25}
        loss, increase = (
            cell(tables["layerwise"], f"{metric}{end}", **of_cell) for end in ("", "_increase")
        )
        assert increase.value == pytest.approx(loss.value - parents[metric], abs=1e-6)


@pytest.mark.slow
def test_regmean_is_lerp_at_the_alpha_of_its_lambda(tables):
    table = tables["layerwise"].query("metric != 'accuracy' and space == 'latents'")
    one, other = (
        table[table.operator == name].set_index(["layer", "alpha", "metric"]).value
        for name in ("lerp", "regmean")
    )
    pd.testing.assert_series_equal(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_accuracy_has_a_wilson_interval(tables):
    rows = tables["layerwise"].query("metric == 'accuracy'")
    parents = tables["parents"].query("metric == 'accuracy'")
    assert list(parents.system) == ["host", "donor"]
    assert {*rows.n, *parents.n} == {4}
    for _, row in rows.iterrows():
        assert (row.low, row.high) == lm.evaluation.wilson_interval(round(row.value * 4), 4)


def test_the_default_grid_is_every_fifth_block_and_the_last():
    assert default_layers(28) == (0, 5, 10, 15, 20, 25, 27)
    assert default_layers(8) == (0, 5, 7)
    assert default_layers(6) == (0, 5)


@pytest.mark.slow
def test_the_bound_holds_for_lerp_and_signals_have_one_row_a_cell(tables, tiny_instruct):
    signals = tables["signals"]
    assert len(signals) == 2 * 3 * 2 * len(SIGNALS)
    lines = signals[signals.operator == "lerp"].pivot(
        index=["layer", "alpha"], columns="signal", values="value"
    )
    assert (lines[["distance", "arc_rad", "head_mismatch", "kl_prompt"]] > 0).all(axis=None)
    config = LayerwiseConfig(**SMALL)
    grid = grid_of(config, compose_latents(config.recipe))
    texts = prompt_batches(tiny_instruct, config, n=config.n_prompts)
    actual: dict = {}
    for batch in texts:
        assert not batch.answer.any()
        passed = run_texts(grid, batch)
        with torch.no_grad():
            host = passed.host.tail.readout(passed.host.states[7]).log_softmax(-1)
            for cells, ends in passed.ends():
                for one, end in zip(cells, ends, strict=True):
                    read = passed.host.tail.readout(end).log_softmax(-1)
                    away = (host.exp() * (host - read)).sum(-1)
                    actual.setdefault(one, []).append(away[batch.predicts])
    for one, parts in actual.items():
        if one.operator == "lerp":
            assert torch.cat(parts).mean() <= lines.bound[one.layer, one.alpha] * 1.2


@pytest.mark.slow
def test_signals_of_last_positions_are_those_of_the_last_token(tiny_instruct, tiny_thinker):
    prompts = ["12+34 = ?", "Who is the tallest?"]
    recipe = {"host": "tiny-instruct", "donors": ["tiny-thinker"], "layers": {3: 0.5}}
    found = suggest.rank(
        {**recipe, "positions": "last"},
        prompts=prompts,
        layers=(3,),
        operators=("lerp",),
        alphas=(0.5,),
    )
    expected = {"kl_prompt": [], "distance": []}
    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, operator="lerp", layers=[3], alpha=0.5)
    for prompt in prompts:
        ids = tiny_instruct.to_tokens(prompt, chat=True).input_ids
        mask = torch.ones_like(ids)
        streams = [record_resid_post(one, ids, mask) for one in (tiny_instruct, tiny_thinker)]
        h, d = (stream[3, 0, -1] for stream in streams)
        expected["distance"].append((((h + d) / 2 - h).square().sum() / h.square().sum()).item())
        config = LayerwiseConfig(layers=(3,), operators=("lerp",), alphas=(0.5,))
        grid = grid_of(config, compose_latents(config.recipe))
        at = torch.zeros_like(ids, dtype=torch.bool)
        at[0, -1] = True
        passed = grid.run(ids, mask, at)
        with torch.no_grad():
            ((_, ends),) = passed.ends()
            merged = passed.host.tail.readout(ends[0, 0, -1])
            host = merge.host.native(ids).logits[0, -1]
        divergence = kl_divergence(Categorical(logits=merged), Categorical(logits=host))
        expected["kl_prompt"].append(divergence.item())
    for signal, values in expected.items():
        assert found[signal].item() == pytest.approx(np.mean(values), rel=1e-4)
    everywhere = suggest.rank(
        recipe, prompts=prompts, layers=(3,), operators=("lerp",), alphas=(0.5,)
    )
    assert everywhere.kl_prompt.item() != pytest.approx(found.kl_prompt.item(), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("operators", [("lerp",), ("lerp", "task_vector"), ("task_vector", "lerp")])
def test_a_grid_of_a_recipe_with_a_base_takes_operators_with_and_without(operators):
    recipe = {"host": "tiny-thinker", "donors": ("tiny-coder",), "base": "tiny-instruct"}
    recipe |= {"operator": "task_vector", "layers": {3: 0.5}}
    config = LayerwiseConfig(recipe=recipe, layers=(3,), operators=operators)
    grid = grid_of(config, compose_latents(config.recipe))
    assert grid.merge.base is not None
    assert {cell.operator for cell in grid.cells} == set(operators)


def test_signals_come_from_lines_that_are_not_measured(tiny_instruct, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("one\ntwo\nthree\n")
    config = LayerwiseConfig(texts=path, n_texts=2)
    (after,) = prompt_batches(tiny_instruct, config, n=2, after=2)
    (alone,) = prompt_batches(tiny_instruct, config, n=1, prompts=["three"])
    assert after.tokens.shape[0] == 1
    (instead,) = prompt_batches(tiny_instruct, config, n=2, after=3)
    assert instead.tokens.shape[0] == 2
    assert alone.tokens.shape[0] == 1


def test_rank_correlations_by_hand():
    cells = pd.DataFrame(
        [(layer, op, a) for layer in (1, 2, 3) for op in ("lerp", "regmean") for a in (0.2, 0.8)],
        columns=["layer", "operator", "alpha"],
    )
    parts = [
        cells.assign(signal=name, value=-cells.layer if name == "bound" else cells.alpha)
        for name in SIGNALS
    ]
    harm = cells.assign(metric="loss", value=cells.layer**2 + cells.alpha)
    table = rank_correlations(pd.concat(parts), harm)
    overall = table[table.alpha.isna()].set_index("signal")
    assert set(overall.n) == {6}  # regmean is lerp
    assert overall.spearman["bound"] < overall.spearman["distance"] < overall.spearman["layer"]
    at_one = table[table.alpha == 0.2].set_index("signal")
    assert at_one.spearman["bound"] == pytest.approx(-1)
    assert at_one.spearman["layer"] == pytest.approx(1)
    assert np.isnan(at_one.spearman["distance"])  # all equal there: nothing to rank


@pytest.mark.slow
def test_the_command_writes_a_record_and_finds_it_the_second_time(tmp_path, capsys):
    path = tmp_path / "texts.txt"
    path.write_text("12+34 = 46\n\nThe capital of Norway is Oslo.\n")
    arguments = ["--runs", str(tmp_path / "runs"), "--texts", str(path), "--layers", "[2]"]
    arguments += ["--n_prompts", "0", "--operators", "[lerp]", "--recipe.positions", "last"]
    command("layerwise", arguments)
    first = capsys.readouterr().out
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "record.json").read_text())["status"] == "finished"
    assert (folder / "layerwise_loss.html").is_file()
    assert not (folder / "layerwise_loss_answer.html").exists()  # texts without answers
    command("layerwise", arguments)
    captured = capsys.readouterr()
    assert captured.out == first
    assert "found the finished run" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--recipe.space", "logits", "--recipe.operator", "soft"],
            "give a recipe of space 'latents'",
        ),
        (["--operators", "[]"], "operators"),
        (["--compare_with", "[latents:slerp]"], "'latents:slerp' is no merge of full models"),
        (["--compare_with", "[weights:luck]"], "unknown merge method 'luck'"),
        (["--n_texts", "0"], "greater than 0"),
    ],
)
def test_bad_arguments_end_with_status_2_and_say_which(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        command("layerwise", arguments)
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_suggest_ranks_by_the_signal_asked_for_and_needs_no_answer(tmp_path, capsys):
    path = tmp_path / "recipe.yaml"
    lm.Recipe(host="tiny-instruct", donors=("tiny-coder",), layers={3: 0.5}).save(path)
    table = suggest.rank(path, prompts=["12+34 = ?", "Who is taller?"], layers=(2, 5), by="bound")
    assert len(table) == 2 * 2 * 3
    assert table.bound.is_monotonic_increasing
    assert set(SIGNALS) <= set(table.columns)
    with pytest.raises(ValueError, match="by='luck' is no signal; choose from distance"):
        suggest.rank(path, by="luck")
    cli.main(
        ["suggest", str(path), "--prompts", '["12+34 = ?"]', "--layers", "[3]", "--n_shown", "2"]
    )
    assert "kl_prompt" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("amounts", "layer", "alpha"),
    [({"layers": {2: 0.9}}, 2, 0.9), ({"layers": {3: 0.5, 5: 0.75}}, None, None)],
    ids=["one block", "several blocks"],
)
def test_the_recipe_given_is_measured_next_to_the_grid(
    tiny_instruct, tiny_thinker, amounts, layer, alpha
):
    recipe = {**PAIR, "operator": "slerp", **amounts}
    given = {"n_texts": 2, "n_prompts": 2, "operators": ("lerp",), "alphas": (0.5,)}
    config = LayerwiseConfig(recipe=recipe, layers=(7,), compare_with=(), **given)
    tables = layerwise.run(config)
    table = tables["layerwise"]
    own = layerwise.own_rows(table, config.recipe).set_index("metric")
    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, operator="slerp", **amounts)
    losses = []
    drawn = question_set(1)
    for question in drawn[:2]:
        prompt = tiny_instruct.to_tokens(question.prompt, chat=True).input_ids
        answer = tiny_instruct.tokenizer(f"{question.answer}<|im_end|>", add_special_tokens=False)
        ids = torch.cat([prompt, torch.tensor([answer.input_ids])], dim=1)
        with torch.no_grad():
            losses += cross_entropy(merge(ids)[0, :-1], ids[0, 1:], reduction="none").tolist()
    assert own.value["loss"] == pytest.approx(np.mean(losses), abs=1e-5)
    assert [None if pd.isna(one) else one for one in (own.layer.iloc[0], own.alpha.iloc[0])] == [
        layer,
        alpha,
    ]
    assert set(tables["signals"].operator) == {"lerp"}  # ranks are of the grid alone
    assert {name for name, _, _ in layerwise.draw(tables)} >= {"layerwise_loss"}
    assert layerwise.summary(tables, config).startswith("the recipe (tiny-instruct + tiny-thinker")


@pytest.mark.slow
def test_a_grid_that_is_stopped_leaves_its_figure_so_far(tmp_path, monkeypatch):
    config = LayerwiseConfig(
        layers=(3,), operators=("lerp",), alphas=(0.5,), n_texts=4, batch_size=2, n_prompts=0
    )
    plain, calls = CellScores.update, []

    def stopped(self, *arguments, **keywords):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        plain(self, *arguments, **keywords)

    with start_run("layerwise", config, root=tmp_path) as record:
        layerwise.run(config, record)
        assert not list(record.folder.glob("*so_far*"))  # a whole run leaves none
    monkeypatch.setattr(CellScores, "update", stopped)
    with (
        pytest.raises(KeyboardInterrupt),
        start_run("layerwise", config, root=tmp_path / "stopped") as record,
    ):
        layerwise.run(config, record)
    table = pd.read_csv(record.folder / "layerwise_loss_so_far.csv")
    assert len(table) == len(table.value.dropna()) > 0
    assert (record.folder / "layerwise_loss_so_far.html").exists()


def test_the_time_that_is_left_is_reported_at_the_pace_so_far(capsys):
    seconds = iter([0.0, 4.0, 6.0, 8.0])
    with counted("texts", 100.0, quiet=False, clock=lambda: next(seconds)) as advance:
        for amount in (10.0, 10.0, 5.0):
            advance(amount)
    assert capsys.readouterr().err == "texts ...\ntexts: 20% after 6 s, some 24 s left\n"
