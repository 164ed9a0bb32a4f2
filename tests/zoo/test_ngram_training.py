"""Pretraining of the n-gram encoder: stopped after a checkpoint, it ends with the same weights."""

import pytest
import torch

from lm_merge.zoo import ngram_training
from lm_merge.zoo.ngram_optimizer import NgramOptimizer
from lm_merge.zoo.ngram_settings import PretrainingSettings
from lm_merge.zoo.ngram_training import pretrain

TEXTS = {"de-DE": ["weck mich", "spiel musik", "regnet es"], "nl-NL": ["wek mij", "speel", "regen"]}
SETTINGS = PretrainingSettings(vocab_size=61, width=4, hidden=4, steps=7, batch=2)


def test_a_stopped_pretraining_ends_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(ngram_training, "SAVED_EVERY", 2)
    expected = pretrain(TEXTS, SETTINGS).state_dict()
    path, whole_step = tmp_path / "state.safetensors", NgramOptimizer.step

    def stopping(self, loss, share):
        if self.n_steps == 5:
            raise KeyboardInterrupt
        whole_step(self, loss, share)

    monkeypatch.setattr(NgramOptimizer, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        pretrain(TEXTS, SETTINGS, checkpoint=path)
    steps = []
    monkeypatch.setattr(
        NgramOptimizer, "step", lambda self, *given: steps.append(whole_step(self, *given))
    )
    found = pretrain(TEXTS, SETTINGS, checkpoint=path).state_dict()
    assert len(steps) == 3  # from the checkpoint after four steps
    assert all(torch.equal(found[name], expected[name]) for name in expected)
