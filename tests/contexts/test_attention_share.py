"""Shares of attention by block equal the sums of the weights themselves."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

import lm_merge as lm
from lm_merge.contexts.operations import Injection, append, none
from lm_merge.contexts.packed import batch_of, mask_for, pack, packed_rows
from tests.families import random_lm


@pytest.fixture(scope="module")
def model() -> lm.HookedLM:
    return random_lm("llama", 0)


def runs_of(last: int):
    given = Injection((1, 5, 6, 7), (1, 8, 9, 4), (9, 8, last), (5, 6, 7, 8, 9), tau=2)
    return [append(given), none(given)]


def test_shares_are_sums_of_attention_weights(model):
    items = [runs_of(3), runs_of(4)]
    found = packed_rows(model, items, attention=True)
    plain = packed_rows(model, items)
    batch = batch_of([pack(runs) for runs in items])
    native: Any = model.native
    native.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            weights = native(
                input_ids=batch.ids,
                attention_mask=mask_for(native, batch, model.dtype),
                position_ids=batch.positions,
                output_attentions=True,
            ).attentions
    finally:
        native.set_attn_implementation("sdpa")
    for item, runs in enumerate(items):
        part = batch.parts[item]
        for place, run in enumerate(runs):
            shares = found[item][place].attention
            assert shares is not None
            assert_close(shares.sum(-1), torch.ones(shares.shape[:-1]), atol=1e-5, rtol=0)
            of_rows = torch.stack(weights)[:, item][:, :, part.rows(run)]
            summed = [
                of_rows[..., part.columns[one] : part.columns[one] + len(one.ids)].sum(-1)
                for one in run.blocks
            ]
            assert_close(shares, torch.stack(summed, dim=-1), atol=1e-5, rtol=0)
            assert torch.equal(found[item][place].logits, plain[item][place].logits)


def test_models_that_cap_their_scores_are_refused():
    gemma = random_lm("gemma2", 0)
    with pytest.raises(ValueError, match="attention"):
        packed_rows(gemma, [runs_of(3)], attention=True)
    assert packed_rows(gemma, [runs_of(3)])[0][0].attention is None
