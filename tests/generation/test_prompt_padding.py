"""Prompts padded on the right go on from their own last token, in every space."""

import pytest
import torch
from families import random_lm, random_tokens

import lm_merge as lm
from lm_merge.generation import padded_left

NEW = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
PADDING = 0


@pytest.fixture(scope="module")
def models() -> dict[str, lm.HookedLM | lm.LatentMerge | lm.LogitEnsemble]:
    host, donor = random_lm("qwen2", 0), random_lm("qwen2", 1)
    return {
        "model": host,
        "latents": lm.LatentMerge(host, donor, layers=[2], alpha=0.5),
        "logits": lm.LogitEnsemble([host, donor]),
    }


def batch(side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A long prompt and a short one, padded on one side."""
    long, short, fill = random_tokens(1, 9, 1), random_tokens(1, 5, 2), torch.full((1, 4), PADDING)
    parts = [short, fill] if side == "right" else [fill, short]
    ids = torch.cat([long, torch.cat(parts, dim=1)])
    return ids, (ids != PADDING).long()


@pytest.mark.parametrize("with_mask", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("which", ["model", "latents", "logits"])
def test_a_padded_row_continues_as_it_does_alone(models, which, side, with_mask):
    model, (ids, mask) = models[which], batch(side)
    alone = model.generate(random_tokens(1, 5, 2), **NEW)[0, -6:]
    together = model.generate(ids, attention_mask=mask if with_mask else None, **NEW)
    assert torch.equal(together[1, -6:], alone)


@pytest.mark.parametrize("which", ["latents", "logits"])
def test_inside_hooks_padding_on_the_right_is_refused(models, which):
    model, (ids, mask) = models[which], batch("right")
    with model.hooks(), pytest.raises(ValueError, match="ends in padding; pad prompts on the left"):
        model.host.native.generate(ids, attention_mask=mask, **NEW)


def test_padding_moves_and_tokens_keep_their_order():
    ids = torch.tensor([[5, 6, 0, 0], [0, 7, 8, 0], [1, 2, 3, 4]])
    moved, mask = padded_left(ids, (ids != 0).long())
    assert moved.tolist() == [[0, 0, 5, 6], [0, 0, 7, 8], [1, 2, 3, 4]]
    assert mask.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]


def test_masks_that_fit_no_prompt_are_refused(models):
    ids = random_tokens(2, 4)
    with pytest.raises(ValueError, match=r"masks every token of rows \[1\]"):
        models["model"].generate(ids, attention_mask=torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]]))
    with pytest.raises(ValueError, match=r"shape \(2, 3\), input_ids \(2, 4\)"):
        models["model"].generate(ids, attention_mask=torch.ones(2, 3).long())
