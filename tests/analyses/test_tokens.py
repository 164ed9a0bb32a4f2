"""The per-token view: probabilities are the systems' own, the text is the merge's answer."""

from pathlib import Path

import pandas as pd
import pytest
import torch

import lm_merge as lm
from analyses.curvature import analysis as curvature
from analyses.running.command import command
from analyses.tokens import analysis as tokens
from analyses.tokens.config import TokensConfig
from figures import plot_next_tokens, plot_token_probabilities
from lm_merge.runs.record import start_run
from lm_merge.scoring.texts import Texts
from lm_merge.scoring.token_curvature import TokenCurvature

PAIR = {"host": "tiny-instruct", "donors": ["tiny-thinker"]}


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return tokens.run(
        TokensConfig(prompt="47+38 = ?", recipe={**PAIR, "layers": {3: 0.75}}, top_k=2)
    )


def merge() -> lm.LatentMerge:
    host, donor = lm.load("tiny-instruct"), lm.load("tiny-thinker")
    return lm.LatentMerge(host, donor, layers={3: 0.75})


@torch.no_grad()
def test_probabilities_are_those_of_each_system_on_the_answer(tables: dict) -> None:
    ours = merge()
    prompt = ours.host.to_tokens("47+38 = ?", chat=True).input_ids
    text = ours.generate(prompt, max_new_tokens=32, do_sample=False)
    expected = {
        "host": ours.host.native(text).logits,
        "donor": ours.donors[0].native(text).logits,
        "merged": ours(text),
    }
    for system, logits in expected.items():
        before = logits[0, prompt.shape[1] - 1 : -1].softmax(-1)
        wanted = before.gather(-1, text[0, prompt.shape[1] :, None]).squeeze(-1)
        rows = tables["tokens"][tables["tokens"].system == system]
        assert torch.allclose(torch.tensor(rows.probability.to_numpy()).float(), wanted, atol=1e-5)
    answer = "".join(tables["tokens"].query("system == 'merged'").token)
    assert answer == ours.host.tokenizer.decode(text[0, prompt.shape[1] :])


def test_divergence_is_of_the_merge_and_greedy_tokens_are_its_likeliest(tables: dict) -> None:
    kl = tables["tokens"].pivot(index="position", columns="system", values="kl_nats")
    assert (kl.merged == 0).all()
    assert (kl[["host", "donor"]] >= -1e-12).all(axis=None)
    nexts = tables["next_tokens"].query("system == 'merged'")
    best = nexts.sort_values("probability").groupby("position").candidate.last()
    came = tables["tokens"].drop_duplicates("position").set_index("position").token
    assert [best[position - 1] for position in came.index] == came.tolist()


def test_every_candidate_has_its_probability_under_every_system(tables: dict) -> None:
    sizes = tables["next_tokens"].groupby(["position", "candidate"]).system.nunique()
    assert (sizes == 3).all()
    totals = tables["next_tokens"].groupby(["position", "system"]).probability.sum()
    assert (totals <= 1 + 1e-6).all()


@pytest.mark.slow
def test_curvature_is_that_of_the_curvature_analysis_on_the_same_text(tables: dict) -> None:
    ours = merge()
    prompt = ours.host.to_tokens("47+38 = ?", chat=True).input_ids
    text = ours.generate(prompt, max_new_tokens=32, do_sample=False)
    mask = torch.ones_like(text)
    whole = Texts(text, mask, torch.zeros_like(mask, dtype=torch.bool), mask[:, :1] * 0)
    wanted = curvature.strip(TokenCurvature(ours, (3,), (0.75,), 16), whole).set_index("position")
    for _, rows in tables["tokens"].groupby("system"):
        assert (rows.curvature_layer == 3).all()
        rows = rows.set_index("position")
        assert rows.index.tolist() == list(range(prompt.shape[1], text.shape[1]))
        for column in ("k_g", "curvature_nats"):
            assert rows[column].to_numpy() == pytest.approx(
                wanted[column].loc[rows.index].to_numpy()
            )
    assert (tables["tokens"].k_g > 0).any()


@pytest.mark.slow
@pytest.mark.parametrize("problem", [ValueError, NotImplementedError])
def test_models_that_cannot_be_differentiated_are_shown_without_curvature(
    problem: type[Exception], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise problem("no second derivative")

    monkeypatch.setattr(tokens.TokenCurvature, "measure", refuse)
    config = TokensConfig(max_new_tokens=2)
    with start_run("tokens", config, root=tmp_path) as record:
        shown = tokens.run(config, record)["tokens"]
    assert "k_g" not in shown
    assert len(plot_token_probabilities(shown).data) == 3
    assert "no curvature: no second derivative" in (record.folder / "record.json").read_text()


def test_curvature_can_be_left_out() -> None:
    config = TokensConfig(max_new_tokens=1, curvature=False)
    assert "k_g" not in tokens.run(config)["tokens"]


def test_candidates_that_read_alike_carry_their_ids() -> None:
    texts = ["\ufffd", "a", "\ufffd", " ", "·", ""]  # a space is shown as a dot
    log_probs = {name: torch.randn(2, 6).log_softmax(-1) for name in ("host", "donor", "merged")}
    table = tokens.next_token_table(log_probs, [4, 5], ["x", "y"], texts.__getitem__, 6)
    of_first = table[(table.position == 4) & (table.system == "host")]
    wanted = {"\ufffd#0": 0, "a": 1, "\ufffd#2": 2, " #3": 3, "·#4": 4, "": 5}
    assert set(of_first.candidate) == set(wanted)
    for row in of_first.itertuples():
        place = wanted[row.candidate]
        assert row.probability == pytest.approx(float(log_probs["host"][0, place].exp()))
    figure = plot_next_tokens(table)
    assert len(set(figure.data[0].y)) == 6


def test_gate_table_holds_alpha_at_the_merged_block(tables: dict) -> None:
    assert set(tables["gate"].layer) == {3}
    assert set(tables["gate"].alpha) == {0.75}


def test_other_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="space"):
        tokens.run(TokensConfig(recipe={**PAIR, "space": "logits", "alpha": 0.5}))


def test_figures_are_drawn_from_the_tables(tables: dict) -> None:
    names = [name for name, _, _ in tokens.draw(tables)]
    assert names == ["token_probabilities", "next_tokens", "gate_by_token"]


def test_a_misspelt_model_leaves_no_run_behind(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        command("tokens", ["--recipe.host", "tiny-instuct", "--runs", str(tmp_path)])
    assert "did you mean 'tiny-instruct'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_id_without_a_token_is_named_by_its_number(tables: dict) -> None:
    host, donor = lm.load("tiny-instruct"), lm.load("tiny-thinker")
    n_tokens = len(host.tokenizer)
    for model in (host, donor):  # padding rows, as large models have for a round number
        model.native.resize_token_embeddings(n_tokens + 6, mean_resizing=False)
    ours = lm.LatentMerge(host, donor, layers={3: 0.5})
    prompt = host.to_tokens("47+38 = ?", chat=True).input_ids
    text = torch.cat([prompt, torch.tensor([[n_tokens + 3, 5]])], dim=1)
    found = tokens.token_tables(ours, text, prompt.shape[1], top_k=2)
    padding = found["tokens"].query(f"token == '#{n_tokens + 3}'")
    assert set(padding.system) == {"host", "donor", "merged"}
    assert padding.probability.isna().all()
    assert padding.entropy_nats.notna().all()
    assert not found["next_tokens"].candidate.str.startswith("#").any()
    assert f"#{n_tokens + 3}" in tokens.summary(found)
    for _, figure, _ in tokens.draw(found):
        assert len(figure.data)
