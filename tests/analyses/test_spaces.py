"""The spaces side by side: the same quantities as by hand, and what is said of the published ones."""

import numpy as np
import pandas as pd
import pytest
import torch

import lm_merge as lm
from analyses.running.command import command
from analyses.similarity import analysis as similarity
from analyses.similarity.config import SimilarityConfig
from analyses.spaces import analysis as spaces
from analyses.spaces.config import SpacesConfig
from figures import plot_output_divergence
from lm_merge.metrics import midness
from lm_merge.sites import record_resid_post

TEXT = "12+34 = ?"
PAIR = {"host": "tiny-instruct", "donors": ["tiny-thinker"]}
LERP = {**PAIR, "operator": "lerp", "layers": {3: 0.5}}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("spaces") / "prompts.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def tables(prompts):
    return spaces.run(
        SpacesConfig(recipe=LERP, operators=("lerp",), alphas=(0.25, 0.5), prompts=prompts)
    )


def only(table: pd.DataFrame, **where) -> float:
    for column, value in where.items():
        table = table[table[column] == value]
    return table.value.item()


@pytest.mark.slow
def test_a_weight_merges_stream_is_that_of_the_mean_of_the_weights(tables, prompts):
    host, donor, merged = (lm.load(f"tiny-{name}") for name in ("instruct", "thinker", "instruct"))
    theirs = dict(donor.native.named_parameters())
    with torch.no_grad():
        for name, parameter in merged.native.named_parameters():
            parameter.copy_(0.75 * parameter + 0.25 * theirs[name])
    encoded = host.to_tokens(TEXT, chat=True)
    h, d, m = (
        record_resid_post(model, encoded.input_ids, encoded.attention_mask)[7, 0]
        for model in (host, donor, merged)
    )
    expected = midness(h, d, m).mean().item()
    where = {"alpha": 0.25, "layer": 7, "metric": "midness"}
    assert only(tables["similarity"], space="weights", **where) == pytest.approx(expected, abs=1e-5)
    alone = similarity.run(
        SimilarityConfig(
            recipe={**PAIR, "space": "weights", "operator": "lerp", "alpha": 0.25},
            prompts=prompts,
            compare_with=(),
        )
    )["similarity"]
    assert only(alone, space="weights", **where) == pytest.approx(expected, abs=1e-5)


def test_divergences_are_those_of_the_distributions(tables, tiny_instruct, tiny_thinker):
    ids = tiny_instruct.to_tokens(TEXT, chat=True).input_ids
    h, d = (
        model.native(ids).logits[0].detach().softmax(-1) for model in (tiny_instruct, tiny_thinker)
    )
    m = 0.5 * h + 0.5 * d
    found = {
        metric: only(tables["output"], space="logits", alpha=0.5, metric=metric)
        for metric in ("kl_host", "js_parents", "js_host")
    }
    assert found["kl_host"] == pytest.approx(float((m * (m / h).log()).sum(-1).mean()), abs=1e-4)
    kls = [(p * (p / m).log()).sum(-1).mean() for p in (h, d)]
    assert found["js_parents"] == pytest.approx(float(sum(kls)) / 2, abs=1e-4)
    assert 0 < found["js_host"] < found["js_parents"]


def test_every_space_operator_and_alpha_has_its_rows(tables):
    keys = ["space", "operator", "alpha"]
    assert len(tables["output"][keys].drop_duplicates()) == (2 + 1) * 2
    assert set(tables["similarity"].space) == {"latents", "weights"}
    assert not tables["output"].duplicated([*keys, "metric"]).any()
    figure = plot_output_divergence(tables["output"])
    assert [(trace.name, trace.line.dash) for trace in figure.data] == [
        ("latents lerp", "solid"),
        ("weights lerp", "dash"),
        ("logits soft", "dot"),
    ]
    assert "Jensen-Shannon divergence from the host (nats)" in figure.layout.xaxis.title.text
    assert len(spaces.draw(tables, SpacesConfig(recipe=LERP, alphas=(0.25, 0.5)))) == 2


@pytest.mark.parametrize(
    ("latents", "weights", "said"),
    [(0.8, 0.6, "as published"), (0.6, 0.8, "opposite"), (0.71, 0.7, "undecided")],
)
def test_the_direction_is_that_of_the_whole_interval(latents, weights, said):
    table = pd.DataFrame(
        {
            "space": space,
            "operator": "slerp",
            "alpha": 0.5,
            "layer": layer,
            "metric": "midness",
            "value": value if layer == 1 else 0.0,
            "low": (value if layer == 1 else 0.0) - 0.06,
            "high": (value if layer == 1 else 0.0) + 0.06,
            "n": 10,
        }
        for space, value in (("latents", latents), ("weights", weights))
        for layer in (0, 1)
    )
    (row,) = spaces.direction_table(table, 0.5).to_dict("records")
    assert row["direction"] == said
    assert row["difference"] == pytest.approx(latents - weights)
    # sqrt(0.06^2 + 0.06^2) on each side
    assert np.ptp([row["low"], row["high"]]) == pytest.approx(2 * 2**0.5 * 0.06)
    assert said in spaces.summary({"direction": pd.DataFrame([row])})


def test_the_recipe_given_is_among_the_merges_of_latents():
    recipe = {**PAIR, "operator": "regmean", "layers": {3: 0.5, 5: 0.75}}
    found = SpacesConfig(recipe=recipe, operators=("lerp",)).recipes()
    latents = [one for one in found if one.space == "latents"]
    assert [one.operator for one in latents] == ["lerp", "regmean"]
    assert latents[1] == lm.Recipe(**recipe)
    assert {one.alpha for one in found if one.space != "latents"} == {0.5}  # the middle of alphas
    one_alpha = SpacesConfig(recipe={**recipe, "layers": (3,), "alpha": 0.9})
    assert {one.alpha for one in one_alpha.recipes()} == {0.9}
    assert one_alpha.shown_alpha == 0.9


@pytest.mark.slow
def test_the_command_says_whether_the_direction_holds(tmp_path, prompts, capsys):
    arguments = ["--operators", "[slerp]", "--alphas", "[0.5]", "--prompts", str(prompts)]
    command("spaces", ["--runs", str(tmp_path), *arguments])
    out = capsys.readouterr().out
    assert out.count("slerp, midness: latents") == 1
    (folder,) = tmp_path.iterdir()
    assert (folder / "similarity_by_space.html").is_file()
    assert (folder / "output_divergence_by_space.html").is_file()
