"""The budget of a merge agrees with what loaded models and filled caches really hold."""

import copy
from dataclasses import replace

import pytest
import torch
from families import CONFIGS
from live_memory import LiveMemory
from transformers import DynamicCache

import lm_merge as lm
from analyses.similarity.analysis import tables_of
from benchmarks.pairs import decode_limit, random_native
from lm_merge import cli
from lm_merge.generation import EncodedPrompts
from lm_merge.models import merge_budget
from lm_merge.models.similarity_budget import similarity_budget
from lm_merge.recipes import ModelSource, Recipe
from lm_merge.scoring.compositions import compositions_of


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


def test_the_command_says_the_speed_at_a_bandwidth_and_the_memory_of_similarity(tmp_path, capsys):
    given = {"host": "tiny-instruct", "donors": ["tiny-thinker"], "layers": {3: 0.5}}
    recipe = str(tmp_path / "recipe.yaml")
    lm.Recipe.load(given).save(recipe)
    cli.main(["budget", recipe, "--bandwidth_gb_s", "10", "--batch_size", "4"])
    steps = merge_budget("tiny-instruct", ["tiny-thinker"], [3], batch_size=4).steps_per_s(1e10)
    assert f"(4 x {steps:.3g} steps) at 10 GB/s, as given" in capsys.readouterr().out
    cli.main(["budget", recipe, "--analysis", "similarity", "--n_tokens", "64"])
    assert "peak on the device" in capsys.readouterr().out


def test_what_a_step_reads_is_the_parameters_that_it_touches_and_the_caches():
    native = random_native(0, n_blocks=3, d_model=128, d_vocab=90)
    budget = merge_budget(native.config, [native.config], [1], dtype="float32", n_tokens=10)
    block = sum(one.numel() for one in native.model.layers[0].parameters())
    caches = budget.host_cache_bytes + budget.donor_cache_bytes
    assert budget.step_reads == 4 * (5 * block + 90 * 128) + caches
    assert budget.steps_per_s(3.0 * budget.step_reads) == 3.0


@pytest.mark.slow
@pytest.mark.parametrize("d_vocab", [60, 20_000])  # streams are the larger part, then logits
def test_similarity_takes_the_memory_that_its_budget_says(d_vocab):
    models = [lm.wrap(random_native(i, n_blocks=6, d_model=256, d_vocab=d_vocab)) for i in (0, 1)]
    merge = lm.LatentMerge(*models, layers=[2], alpha=0.5)
    batch = EncodedPrompts(torch.randint(3, 60, (4, 40)), torch.ones(4, 40).long(), "ids")
    configs = [one.native.config for one in models]
    budget = similarity_budget(
        configs[0], configs[1:], [2], dtype="float32", batch_size=4, n_tokens=40, n_alphas=2
    )
    merges = replace(
        compositions_of(merge, [0.25]), recipe=Recipe(host="h", donors=["d"], layers={2: 0.5})
    )
    with LiveMemory() as used:
        tables_of(merges, [batch, batch])
    # here the recorded streams are in the same memory
    said = budget.total_bytes - budget.weights_bytes + budget.in_cpu_memory
    assert 0.5 * said < used.peak < said
