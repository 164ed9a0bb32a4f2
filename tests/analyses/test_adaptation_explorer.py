"""The live text and its widget, driven by the controls as a reader would."""

import json
import math

import pytest

import lm_merge as lm
from analyses.adaptation.config import AdaptationConfig
from analyses.adaptation.explorer import AdaptationExplorer
from analyses.adaptation.explorer_options import CONTEXT, INJECTED, ExplorerOptions
from analyses.adaptation.explorer_page import notebook
from analyses.adaptation.live import LiveText


@pytest.fixture(scope="module")
def merge() -> lm.LatentMerge:
    host, donor = lm.load("tiny-newest"), lm.load("tiny-oldest")
    return lm.LatentMerge(host, [donor], operator="lerp", layers=range(host.n_layers), alpha=0.0)


def words(live: LiveText) -> list[str]:
    return [step.text.strip() for step in live.steps]


@pytest.mark.slow
def test_a_text_follows_an_injection_and_then_the_alpha_of_the_merge(merge):
    """The host follows the newest context, the donor the oldest."""
    live = LiveText(merge, CONTEXT, AdaptationConfig())
    for place in range(16):
        if place == 6:
            live.inject(INJECTED)
        merge.alpha = 1.0 if place >= 12 else 0.0
        assert live.step() is not None
    merge.alpha = 0.0
    assert words(live) == "a 3 b 7 f 12 h 2 a 5 b 1 f 12 h 0".split()
    assert all(math.isnan(step.index) and not step.attribution for step in live.steps[:6])
    values = [step for step in live.steps[6:] if step.diagnostic]
    assert [step.attribution for step in values] == ["injected"] * 3 + ["original"] * 2
    assert [step.index > 0.5 for step in values] == [True] * 3 + [False] * 2
    for step in live.steps:
        assert step.attention is not None
        assert sum(step.attention.values()) == pytest.approx(1, abs=1e-5)
        assert ("c1" in step.attention) == bool(step.attribution)
    with pytest.raises(ValueError, match="injected already"):
        live.inject(CONTEXT)


@pytest.mark.slow
def test_controls_write_inject_and_start_anew(merge):
    explorer = AdaptationExplorer(merge, max_new_tokens=4)
    for tick in (1, 2):
        explorer.play.value = tick
    explorer.inject.click()
    assert explorer.inject.disabled
    explorer.alpha.value = 1.0
    for tick in (3, 4, 5):
        explorer.play.value = tick
    assert "all tokens are written (4)" in explorer.message.value
    assert [step.alpha for step in explorer.live.steps] == [0, 0, 1, 1]
    assert list(explorer.curves.data[1].x) == [2, 3]
    assert "| c1 |" in explorer.text.value
    explorer.play.value = 0
    assert explorer.live.steps == []
    explorer.context.value = " "
    assert "context is empty" in explorer.message.value
    explorer.play.value = 1  # nothing to write on
    explorer.alpha.value = 0.0
    assert AdaptationExplorer(merge.host).alpha is None


def test_the_page_has_one_cell_with_its_options():
    options = ExplorerOptions(context="[ a 1 b 2 c 3 d 4 ]", open_browser=False)
    (cell,) = notebook(options)["cells"]
    compile(cell["source"], "cell", "exec")
    assert json.dumps(options.context) in cell["source"]
    with pytest.raises(ValueError, match="prompt_template"):
        ExplorerOptions(prompt_template="no place")
