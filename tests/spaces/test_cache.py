"""Whatever is done to the host's cache is done to every donor's."""

import pytest
import torch
from families import random_lm, random_tokens

import lm_merge as lm

OPERATIONS = {
    "crop": lambda cache: cache.crop(-2),
    "reorder": lambda cache: cache.reorder_cache(torch.tensor([2, 0, 1])),
    "repeat": lambda cache: cache.batch_repeat_interleave(2),
    "select": lambda cache: cache.batch_select_indices(torch.tensor([2, 0])),
}


def filled(tokens: torch.Tensor):
    """The caches of a host that is its own donor: both hold the same keys and values."""
    host = random_lm("qwen2", 0)
    merge = lm.LatentMerge(host, host, layers=[3], alpha=0.0)
    with merge.hooks():
        return host.native(tokens, use_cache=True).past_key_values


@pytest.mark.parametrize("name", OPERATIONS)
def test_donors_follow(name):
    cache = filled(random_tokens(3, 6))
    (donor,) = cache.donor_caches
    before = cache.layers[2].keys.clone()
    OPERATIONS[name](cache)
    for ours, theirs in zip(cache.layers, donor.layers, strict=True):
        assert torch.equal(ours.keys, theirs.keys)
        assert torch.equal(ours.values, theirs.values)
    assert not torch.equal(cache.layers[2].keys, before)
    assert donor.get_seq_length() == cache.get_seq_length()


def test_a_reset_empties_all():
    cache = filled(random_tokens(3, 6))
    cache.reset()
    assert cache.get_seq_length() == cache.donor_caches[0].get_seq_length() == 0
    assert cache.last_prompt_column is None
