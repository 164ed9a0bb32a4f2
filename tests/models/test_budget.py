"""The budget of a merge agrees with what loaded models and filled caches really hold."""

import copy

import pytest
import torch
from families import CONFIGS
from transformers import DynamicCache

import lm_merge as lm
from benchmarks.pairs import decode_limit, random_native
from lm_merge import cli
from lm_merge.models import merge_budget
from lm_merge.recipes import ModelSource


def test_weights_and_caches_are_those_of_the_loaded_models() -> None:
    host = lm.load("tiny-instruct")
    budget = merge_budget("tiny-instruct", ["tiny-thinker"], [3], dtype="float32", n_tokens=12)
    weights = sum(p.numel() * p.element_size() for p in host.native.parameters())
    assert budget.host_weights_bytes == budget.donor_weights_bytes == weights
    cache = DynamicCache(config=host.native.config)
    host.native(torch.arange(12)[None], past_key_values=cache)
    filled = [layer.keys.nbytes + layer.values.nbytes for layer in cache.layers]
    assert budget.host_cache_bytes == sum(filled)
    assert budget.donor_cache_bytes == sum(filled[:4])
    assert budget.logits_bytes == host.d_vocab * 4
    assert budget.total_bytes == 2 * weights + sum(filled) + sum(filled[:4]) + host.d_vocab * 4


@pytest.mark.parametrize("layer", [0, 2])
def test_ratio_is_the_limit_by_parameters_touched(layer: int) -> None:
    native = random_native(0, n_blocks=3, d_model=128, d_vocab=90)
    budget = merge_budget(native.config, [native.config], [layer])
    assert budget.decode_ratio == pytest.approx(decode_limit(lm.wrap(native), layer))


def test_an_ancestor_counts_like_a_donor_and_a_model_named_twice_is_held_once() -> None:
    two = merge_budget("tiny-instruct", ["tiny-thinker", "tiny-coder"], [3])
    assert merge_budget("tiny-instruct", ["tiny-thinker"], [3], base="tiny-coder") == two
    host = merge_budget("tiny-instruct", ["tiny-thinker"], [3], base="tiny-instruct")
    assert host.donor_weights_bytes == two.donor_weights_bytes // 2
    assert host.donor_cache_bytes == two.donor_cache_bytes
    assert host.decode_ratio == two.decode_ratio
    adapted = ModelSource(model="tiny-instruct", adapter="sums")  # runs over the host's weights
    assert merge_budget("tiny-instruct", [adapted], [3]).donor_weights_bytes == 0


def test_the_command_counts_the_ancestor(tmp_path, capsys) -> None:
    given = {"host": "tiny-instruct", "donors": ["tiny-thinker"], "layers": {3: 0.5}}
    ancestor = {"operator": "task_vector", "base": "tiny-coder"}
    for name, more in (("plain", {}), ("based", ancestor)):
        lm.Recipe.load(given | more).save(tmp_path / name)
        cli.main(["budget", str(tmp_path / name)])
    plain, based = (
        float(line.split()[-7]) for line in capsys.readouterr().out.splitlines() if "costs" in line
    )
    assert based - 1 == pytest.approx(2 * (plain - 1), abs=0.02)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"layers=\[8\].*0\.\.7"):
        merge_budget("tiny-instruct", ["tiny-thinker"], [8])
    with pytest.raises(ValueError, match="dtype='float31'"):
        merge_budget("tiny-instruct", ["tiny-thinker"], [3], dtype="float31")
    with pytest.raises(OSError, match="did you mean 'tiny-coder'"):
        merge_budget("tiny-instruct", ["tiny-codr"], [3])
    host, donor = CONFIGS["qwen2"], copy.deepcopy(CONFIGS["qwen2"])
    donor.num_hidden_layers, donor.hidden_size = 2, 16
    with pytest.raises(
        ValueError, match="does not fit host .*: d_model: host 32, donor 16; n_layers"
    ):
        merge_budget(host, [donor], [1])
