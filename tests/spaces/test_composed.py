"""Models and merges share one calling surface, whatever they are made of."""

import pytest
import torch
from families import random_lm, random_tokens

import lm_merge as lm
from lm_merge.spaces import Composed, system

LATENTS = {"host": "tiny-instruct", "donors": ["tiny-thinker"], "layers": [3], "alpha": 0.5}
LOGITS = {"space": "logits", "host": "tiny-instruct", "donors": ["tiny-thinker"], "alpha": 0.25}
WEIGHTS = LOGITS | {"space": "weights", "operator": "slerp"}
RECIPES = {"latents": LATENTS, "logits": LOGITS, "weights": WEIGHTS}


@pytest.mark.parametrize("source", ["tiny-instruct", *RECIPES.values()], ids=["model", *RECIPES])
def test_every_system_has_the_calling_surface(source):
    composed = system(source)
    assert isinstance(composed, Composed)
    assert isinstance(composed.host, lm.HookedLM)
    assert "tiny-instruct" in composed.name
    encoded = composed.host.to_tokens(["12+34 = ?", "What is the capital of Norway?"], chat=True)
    logits = composed(encoded.input_ids, encoded.attention_mask)
    assert logits.shape == (*encoded.input_ids.shape, composed.host.d_vocab)
    with composed.hooks():
        inside = composed.host(encoded.input_ids, encoded.attention_mask)
    assert torch.equal(inside, logits)
    texts = composed.generate(encoded, max_new_tokens=8)
    alone = composed.generate("12+34 = ?", chat=True, max_new_tokens=8, do_sample=False)
    assert texts[0] == alone


def test_systems_come_from_files_and_from_what_is_loaded_already(tmp_path, tiny_instruct):
    path = lm.Recipe.load(LATENTS).save(tmp_path / "r.yaml")
    assert system(str(path)).name == system(path).name == system(LATENTS).name
    assert system(tiny_instruct) is tiny_instruct
    with pytest.raises(OSError, match="no bundled name"):
        system("no-such-model")
    with pytest.raises(OSError, match=r"gone.yaml"):
        system(tmp_path / "gone.yaml")


def test_names_tell_compositions_apart():
    host, donor = random_lm("qwen2", 0), random_lm("qwen2", 1)
    host.name, donor.name = "h", "d"
    merge = lm.LatentMerge(host, donor, layers=[1, 2], alpha=0.25)
    assert merge.name == "h + d, latents slerp 0.25 at 1, 2"
    merge.alpha = {1: 0.25, 2: lambda h, d: h[..., :1]}
    assert merge.name == "h + d, latents slerp 0.25, function at 1, 2"
    assert lm.LogitEnsemble([host, donor], [0.75, 0.25]).name == "h + d, logits soft 0.25"
    assert lm.LogitEnsemble([host, donor], method="majority").name == "h + d, logits majority"
    assert system(WEIGHTS).name == "tiny-instruct + tiny-thinker, weights slerp 0.25"


def test_a_model_alone_counts_positions_over_real_tokens():
    model, short = random_lm("gpt2", 0), random_tokens(1, 5)
    padded = torch.cat([torch.zeros(1, 4).long(), short], dim=1)
    mask = (torch.arange(9) >= 4).long().unsqueeze(0)
    torch.testing.assert_close(model(padded, mask)[:, 4:], model(short), atol=1e-4, rtol=1e-4)
