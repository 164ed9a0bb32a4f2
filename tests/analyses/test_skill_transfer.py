"""Skill taken over and its cost: the ends of the scale, what is found again, and what is refused."""

import pandas as pd
import pytest
import torch

from analyses.skill_transfer import analysis as skill_transfer
from analyses.skill_transfer import grid
from analyses.skill_transfer.config import SkillTransferConfig
from analyses.skill_transfer.cost import cost_rows, reply_columns
from lm_merge.evaluation.replies import reply_in_batches
from lm_merge.recipes import Recipe
from lm_merge.runs.record import start_run
from lm_merge.scoring.texts import Texts

PAIR = Recipe(host="tiny-instruct", donors=("tiny-thinker",), space="logits", alpha=1.0)
CONFIG = SkillTransferConfig(
    recipe=PAIR, merges=("logits:soft",), alphas=(0.0,), n_questions=6, n_prompts=3, reply_tokens=12
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def table(runs):
    with start_run("skill_transfer", CONFIG, root=runs) as record:
        return skill_transfer.run(CONFIG, record)["skill_transfer"]


def value(
    table: pd.DataFrame, metric: str, system: str = "merge", alpha: float | None = None
) -> float:
    rows = table[(table.metric == metric) & (table.system == system)]
    return (rows if alpha is None else rows[rows.alpha == alpha]).value.item()


def test_the_donor_alone_and_the_host_alone_are_the_ends_of_the_scale(table):
    for alpha, parent, other in ((0.0, "host", "donor"), (1.0, "donor", "host")):
        accuracy = value(table, "accuracy", parent)
        assert value(table, "accuracy", alpha=alpha) == accuracy
        assert value(table, f"kl_{parent}", alpha=alpha) == pytest.approx(0, abs=1e-5)
        assert value(table, f"kl_{other}", alpha=alpha) > 0.1
        assert value(table, "nearer_donor", alpha=alpha) == alpha
    assert value(table, "kl_host", "donor") == pytest.approx(value(table, "kl_host", alpha=1.0))


def test_what_was_measured_is_found_again_without_a_model(table, runs, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(grid, "SourceLoader", refuse)
    with start_run("skill_transfer", CONFIG, root=runs) as record:
        again = skill_transfer.run(CONFIG, record)["skill_transfer"]
    pd.testing.assert_frame_equal(again, table)


def test_findings_and_summary_name_the_merge_and_why_a_recovery_is_undefined(table):
    tables = {"skill_transfer": table}
    rows = skill_transfer.findings(tables, CONFIG)
    assert {row["metric"] for row in rows if row["system"] == "merge"} == {
        *("accuracy", "truncated", "recovery", "kl_host", "kl_donor", "nearer_donor"),
    }
    text = skill_transfer.summary(tables, CONFIG)
    assert "logits soft, alpha 1: right" in text
    assert "of 6 questions right" in text
    assert "cut off" not in text
    cut = table.assign(value=table.value.mask((table.metric == "truncated"), 0.5))
    text = skill_transfer.summary({"skill_transfer": cut}, CONFIG)
    assert "50% of the host's answers were cut off by max_new_tokens" in text


def test_a_prompt_counts_as_one_cluster_and_is_nearer_to_one_parent():
    divergences = pd.DataFrame(
        {"prompt": [0, 0, 1], "kl_host": [1.0, 3.0, 0.0], "kl_donor": [1.0, 1.0, 4.0]}
    )
    host, donor, nearer = cost_rows(divergences)
    assert (host["value"], host["n"]) == (pytest.approx(4 / 3), 3)
    assert donor["value"] == pytest.approx(2.0)
    assert (nearer["value"], nearer["n"]) == (0.5, 2)


def test_the_end_token_of_a_reply_is_no_token_of_it():
    answer = torch.tensor([[False, False, True, True, True], [False, True, True, False, False]])
    ends = torch.tensor([[1], [0]])
    texts = Texts(
        torch.zeros(2, 5, dtype=torch.long), torch.ones(2, 5, dtype=torch.long), answer, ends
    )
    expected = [[False, True, True, False, False], [True, False, False, False, False]]
    assert reply_columns(texts).tolist() == expected


def test_a_stop_id_ends_a_reply(tiny_instruct):
    prompts = ["12+34 = ?"]
    (plain,) = next(reply_in_batches(tiny_instruct, prompts, max_new_tokens=5))
    ids = tiny_instruct.to_tokens(prompts, chat=True).input_ids
    first = int(tiny_instruct(ids)[0, -1].argmax())
    (stopped,) = next(reply_in_batches(tiny_instruct, prompts, max_new_tokens=5, stop_ids=(first,)))
    assert plain.n_new_tokens > 1
    assert (stopped.n_new_tokens, stopped.truncated) == (1, False)


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        (("slerp",), "give 'space:operator'"),
        (("adapters:linear",), "the donor 'tiny-thinker' is not the host with an adapter"),
        (("latents:slerp",), "needs blocks; give layers"),
    ],
)
def test_a_merge_that_cannot_be_is_refused(merges, message):
    with pytest.raises(ValueError, match=message):
        SkillTransferConfig(recipe=PAIR, merges=merges)


def test_a_grid_has_every_merge_once_and_the_recipe_first():
    recipe = Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers={3: 0.5})
    config = SkillTransferConfig(
        recipe=recipe, merges=("latents:slerp", "weights:lerp"), layers=(3, 5), alphas=(0.5, 0.7)
    )
    merges = config.grid()
    assert merges[0] == recipe
    assert [(one.space, dict(one.layers or {}), one.alpha) for one in merges[1:]] == [
        *[("latents", {layer: alpha}, None) for layer, alpha in ((3, 0.7), (5, 0.5), (5, 0.7))],
        *[("weights", {}, alpha) for alpha in (0.5, 0.7)],
    ]
