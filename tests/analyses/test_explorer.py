"""The notebook widget, driven by its controls as a reader would."""

import pytest
import torch

import lm_merge as lm
from analyses.explorer import MergeExplorer

pytestmark = pytest.mark.slow  # widgets alone take seconds to import


@pytest.fixture(scope="module")
def models() -> tuple[lm.HookedLM, lm.HookedLM]:
    return lm.load("tiny-instruct"), lm.load("tiny-thinker")


@pytest.fixture
def explorer(models: tuple[lm.HookedLM, lm.HookedLM]) -> MergeExplorer:
    return MergeExplorer(*models)


def bars(explorer: MergeExplorer) -> dict[str, dict[str, float]]:
    return {bar.name: dict(zip(bar.x, bar.y, strict=True)) for bar in explorer.bars.data}


def test_alpha_zero_gives_the_hosts_own_text_and_bars(explorer: MergeExplorer) -> None:
    explorer.alpha.value = 0.0
    alone = explorer.host.generate(["47+38 = ?"], chat=True, max_new_tokens=32, do_sample=False)
    assert explorer.text.value == alone[0]
    assert bars(explorer)["merged"] == bars(explorer)["host"]


def test_text_and_bars_follow_the_controls(explorer: MergeExplorer) -> None:
    explorer.layers.value = (7,)
    explorer.alpha.value = 1.0
    merge = lm.LatentMerge(explorer.host, explorer.donor, layers={7: 1.0})
    answer = merge.generate(["47+38 = ?"], chat=True, max_new_tokens=32, do_sample=False)
    assert explorer.text.value == answer[0]
    before = bars(explorer)["merged"]
    explorer.operator.value = "lerp"
    explorer.alpha.value = 0.5
    assert bars(explorer)["merged"] != before
    explorer.prompt.value = "What is the capital of Norway?"
    assert bars(explorer)["host"] != before


def test_models_are_as_before_whatever_was_chosen(
    models: tuple[lm.HookedLM, lm.HookedLM],
) -> None:
    host = models[0]
    tokens = host.to_tokens("47+38 = ?", chat=True).input_ids
    with torch.no_grad():
        before = host.native(tokens).logits
        explorer = MergeExplorer(*models)
        explorer.alpha.value = 0.9
        assert torch.equal(host.native(tokens).logits, before)


def test_no_block_chosen_is_said(explorer: MergeExplorer) -> None:
    explorer.layers.value = ()
    assert explorer.text.value == "choose at least one block"
    assert all(not bar.x for bar in explorer.bars.data)
    assert explorer.show().children


def test_a_prompt_that_cannot_be_read_is_told_where_the_text_stands(
    explorer: MergeExplorer,
) -> None:
    before = bars(explorer)
    explorer.prompt.value = ""
    assert "is empty" in explorer.text.value
    explorer.prompt.value = "word " * 600
    assert "context ends at 512" in explorer.text.value
    assert all(not bar.x for bar in explorer.bars.data)
    explorer.prompt.value = "47+38 = ?"
    assert bars(explorer) == before


def test_tokens_that_decode_to_the_same_text_have_a_bar_each(
    explorer: MergeExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer.host.tokenizer, "decode", lambda *_, **__: "\ufffd")
    explorer.alpha.value = 0.25
    labels = explorer.bars.data[0].x
    assert len(labels) == len(set(labels)) >= explorer.top_k
    assert all(label.startswith("\ufffd#") for label in labels)
