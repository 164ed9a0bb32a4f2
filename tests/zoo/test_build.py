"""The training script makes models that load, and goes on where it was interrupted."""

import pytest
import torch
from transformers import AutoTokenizer, Trainer, set_seed

import lm_merge as lm
from lm_merge.zoo import build
from lm_merge.zoo.names import BUNDLED, CHECKPOINTS

TINY = {
    "tiny-instruct": build.BuildConfig(n_examples=64, batch=16),
    "tiny-thinker": build.BuildConfig(n_examples=32, batch=16, seed=1),
}


@pytest.fixture
def bundled_tokenizer(monkeypatch):
    """That of the checkpoints, which training it gives again (the slow test says so)."""
    folder = CHECKPOINTS / "tiny-instruct"
    monkeypatch.setattr(build, "build_tokenizer", lambda: AutoTokenizer.from_pretrained(folder))


@pytest.mark.slow
def test_models_are_trained_measured_and_loadable(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "DEFAULTS", TINY)
    monkeypatch.setattr(build, "MAX_NEW_TOKENS", 2)  # they know nothing; let them be brief
    out = tmp_path / "out"
    build.build(out, tmp_path / "work", names=list(TINY))
    table = build.measure(out, n=4)
    assert set(table.model) == set(TINY)
    assert table.n.min() == 4
    tokenizer = "tiny-instruct/tokenizer.json"
    assert (out / tokenizer).read_text() == (CHECKPOINTS / tokenizer).read_text()
    parent, child = (lm.load(out / name) for name in TINY)
    assert child.generate("1+2 = ?", chat=True, max_new_tokens=2) is not None
    difference = parent.native.lm_head.weight - child.native.lm_head.weight
    assert 0 < difference.abs().max() < 0.5  # the child went on from the parent


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_tokenizer")
def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(tmp_path, monkeypatch):
    config, bundled = build.BuildConfig(n_examples=24, batch=8), BUNDLED["tiny-instruct"]
    monkeypatch.setattr(build, "SAVE_STEPS", 1)
    whole = build.train(bundled, config, tmp_path / "whole", tmp_path / "work1")
    step = Trainer.training_step

    def interrupted(self, *arguments, **keywords):
        if self.state.global_step == 2:
            raise KeyboardInterrupt
        return step(self, *arguments, **keywords)

    monkeypatch.setattr(Trainer, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build.train(bundled, config, tmp_path / "parts", tmp_path / "work2")
    monkeypatch.setattr(Trainer, "training_step", step)
    parts = build.train(bundled, config, tmp_path / "parts", tmp_path / "work2")
    one, other = (lm.load(folder).native.state_dict() for folder in (whole, parts))
    assert all(torch.equal(one[key], other[key]) for key in one)
    set_seed(config.seed)
    fresh = build.fresh_model().to(torch.bfloat16).state_dict()
    assert any(not torch.equal(one[key], fresh[key].float()) for key in fresh)  # it has learned
