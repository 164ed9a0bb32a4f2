"""Language models and their updates as targets, and masked components in both views."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from lm_merge.decomposition.decomposition import Decomposition
from lm_merge.decomposition.evaluation import evaluate
from lm_merge.decomposition.fit import generator_of
from lm_merge.decomposition.kept import masked
from lm_merge.decomposition.merging import merge_by_components, weighted_components
from lm_merge.decomposition.registry import experiment
from lm_merge.decomposition.settings import DecompositionSettings
from lm_merge.decomposition.targets.build import build_target

DOWN = "model.layers.3.mlp.down_proj"
MODULES = ("model.embed_tokens", DOWN)


def streams(stream: int = 0) -> list[torch.Generator]:
    return [generator_of(seed, stream, torch.device("cpu")) for seed in range(2)]


@pytest.fixture(scope="module")
def trio():
    made = experiment("lm_trio", target={"modules": MODULES, "n_texts": 16})
    target = build_target(made.target, Path())
    settings = DecompositionSettings(components=5, eval_batch=2, gate_width=4)
    return Decomposition.start(target, settings, [0, 1], streams())


@pytest.mark.slow
def test_all_ones_are_the_model_and_batches_its_texts(trio):
    values = evaluate(trio, {}, metrics=("reconstruction", "sparsity"))
    assert values["reconstruction_none"] == pytest.approx([0, 0], abs=1e-6)
    assert min(values["reconstruction_zero"]) > 0.1
    batch = trio.target.batch(streams(1), 3)
    assert batch.ids.shape[:2] == (2, 3)
    assert trio.target.model.tokenizer.decode(batch.ids[0, 0]).startswith("<|im_start|>user")


def test_seeds_together_have_the_outputs_they_have_alone(trio):
    seen = trio.see(trio.target.batch(streams(1), 2))
    with torch.no_grad():
        logits = trio.target.model(seen.batch.ids[1])
    assert_close(seen.output[1], logits.flatten(0, 1), atol=1e-4, rtol=1e-4)


def test_masks_act_in_both_views(trio):
    model, seed = trio.target.model, 1
    tokens = trio.target.batch(streams(1), 2).ids[0]
    with torch.no_grad():
        before = model(tokens)
        with masked(trio, {DOWN: torch.ones(5)}, seed=seed):
            assert_close(model(tokens), before, atol=1e-4, rtol=1e-4)
        with masked(trio, {DOWN: torch.zeros(5)}, seed=seed, remainder=0.0):
            native, cache = model(tokens), model.hooked.run_with_cache(tokens)[1]
            hooked = model.hooked(tokens)
        assert_close(model(tokens), before)
    assert_close(cache["mlp_out", 3], torch.zeros_like(cache["mlp_out", 3]), atol=1e-5, rtol=0)
    assert_close(hooked, native, atol=1e-3, rtol=1e-3)
    assert (native - before).abs().max() > 0.1


def test_masks_of_unknown_layers_are_refused(trio):
    with (
        pytest.raises(ValueError, match="are no decomposed layers"),
        masked(trio, {"lm_head": torch.ones(5)}),
    ):
        pass


def test_a_pattern_that_fits_nothing_is_refused():
    made = experiment("lm_trio", target={"modules": ["layers.99.*"]})
    with pytest.raises(ValueError, match="fits no linear map"):
        build_target(made.target, Path())


@pytest.mark.slow
def test_an_update_without_components_is_the_base_and_whole_the_tuned_model():
    base = {"kind": "language", "model": "tiny-instruct", "modules": (DOWN,), "n_texts": 8}
    made = experiment("update_trio", target={"base": base, "tuned": "tiny-thinker"})
    target = build_target(made.target, Path())
    found = Decomposition.start(
        target, DecompositionSettings(components=5, eval_batch=4), [0, 1], streams()
    )
    assert evaluate(found, {}, metrics=("reconstruction",))["reconstruction_none"] == pytest.approx(
        [0, 0], abs=1e-6
    )
    layer = target.layers[DOWN]
    assert layer.fixed is not None
    a = torch.randn(1, 3, 256)
    tuned = target.modules[DOWN](a)
    assert_close(layer.clean(a), tuned, atol=1e-5, rtol=1e-5)
    assert_close(layer.always(a), tuned - a @ layer.weight.T, atol=1e-5, rtol=1e-5)


def test_merging_with_all_components_adds_their_sum(trio):
    seen = trio.see(trio.target.batch(streams(1), 2))
    own = weighted_components(seen, threshold=0.0)  # every component counts as 1
    bases = {name: layer.weight for name, layer in trio.target.layers.items()}
    merged = merge_by_components(bases, [own, own], scale=0.5)
    for name, one in seen.factors.items():
        assert_close(merged[name], bases[name] + one.U[0] @ one.V[0], atol=1e-5, rtol=1e-5)
    mean = weighted_components(seen, by="mean")
    largest = weighted_components(seen)
    assert all((mean[name].weights <= largest[name].weights + 1e-6).all() for name in mean)
    with pytest.raises(ValueError, match="layers differ"):
        merge_by_components(bases, [{}])
