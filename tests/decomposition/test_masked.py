"""Masks and masked passes: ranges, exactness, gradients."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from lm_merge.decomposition.decomposition import Decomposition
from lm_merge.decomposition.fit import generator_of
from lm_merge.decomposition.losses import one_layer
from lm_merge.decomposition.masks import MASKS, Part, SeedDraws, draws_for, masks_of
from lm_merge.decomposition.registry import experiment
from lm_merge.decomposition.settings import DecompositionSettings
from lm_merge.decomposition.targets.build import build_target
from tests.decomposition.toys import PAPER, resid_mlp, resid_mlp_tensors, tms

CPU = torch.device("cpu")
TARGETS = {"tms": tms(), "tms-id": tms(identity=True), "resid": resid_mlp()}


def generators(n: int, stream: int = 0) -> list[torch.Generator]:
    return [generator_of(seed, stream, CPU) for seed in range(n)]


def started(target, n_seeds: int = 2, **settings) -> Decomposition:
    given = DecompositionSettings(components=7, **settings)
    return Decomposition.start(target, given, range(n_seeds), generators(n_seeds))


def parts_masks(found, seen, parts):
    draws = draws_for(parts, seen.importances, SeedDraws(generators(2, 2)), seen.batch.n_rows)
    return found.masks(seen, parts, draws)


@pytest.mark.parametrize("name", TARGETS)
def test_all_ones_with_the_remainder_are_the_target(name):
    target = TARGETS[name]
    found = started(target)
    seen = found.see(target.batch(generators(2, 1), 64))
    masks = parts_masks(found, seen, [Part(tuple(target.layers), "none")])
    assert_close(found.divergences(seen, masks), torch.zeros(2, 1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", TARGETS)
def test_components_and_remainder_add_up_to_the_weights(name):
    """The sum is also taken the long way: U V and W - U V apart."""
    target = TARGETS[name]
    found = started(target)
    seen = found.see(target.batch(generators(2, 1), 64))
    for layer, one in seen.factors.items():
        a = seen.inputs[layer]
        share = torch.rand(2, a.shape[1], 1)
        mask = torch.rand(2, a.shape[1], 7)
        long_way = torch.einsum("src,soc,sci,sri->sro", mask, one.U, one.V, a)
        rest = one.layer.weight - one.U @ one.V
        long_way = long_way + share * torch.einsum("soi,sri->sro", rest, a)
        assert_close(one.masked(a, mask, share), long_way, atol=1e-5, rtol=1e-5)


def test_a_layer_of_its_own_copy_is_masked_alone():
    target = TARGETS["resid"]
    found = started(target)
    seen = found.see(target.batch(generators(2, 1), 64))
    parts = one_layer(list(target.layers), torch.Generator(), "zero")
    parts.append(Part(tuple(target.layers), "zero"))
    together = found.divergences(seen, parts_masks(found, seen, parts))
    alone = [found.divergences(seen, parts_masks(found, seen, [part])) for part in parts]
    assert_close(together, torch.cat(alone, dim=1))


@pytest.mark.parametrize("source", ["uniform", "binomial"])
def test_masks_lie_between_importance_and_one(source):
    ci = torch.rand(2, 50, 7)
    draw = SeedDraws(generators(2), source)
    for kind in MASKS:
        part = Part(("a",), kind)
        draws = draws_for([part], {"a": ci}, draw, [50, 40])[0]
        made = masks_of(part, {"a": ci}, draws, remainder=True)["a"]
        assert made.mask.shape == ci.shape
        assert made.rest.shape == (2, 50, 1)
        assert 0 <= float(made.mask.min()) <= float(made.mask.max()) <= 1
        if kind == "stochastic":
            assert (made.mask >= ci).all()
        if source == "binomial":
            assert set(draws["a"].unique().tolist()) == {0.0, 1.0}


def test_without_remainder_only_the_target_itself_keeps_it():
    ci = torch.rand(1, 5, 3)
    draws = {"a": torch.rand(1, 5, 4)}
    for kind in MASKS:
        rest = masks_of(Part(("a",), kind), {"a": ci}, draws, remainder=False)["a"].rest
        assert rest.unique().tolist() == [float(kind == "none")]


def test_gradients_reach_importance_through_masks():
    target = TARGETS["tms"]
    found = started(target)
    seen = found.see(target.batch(generators(2, 1), 64))
    masks = parts_masks(found, seen, [Part(tuple(target.layers))])
    scores = list(seen.scores.values())
    slopes = torch.autograd.grad(found.divergences(seen, masks).sum(), scores)
    assert all(slope.abs().sum() > 0 for slope in slopes)


def test_tied_layers_share_their_factors():
    found = started(TARGETS["tms"])
    one, other = (found.factors()[name] for name in ("linear1", "linear2"))
    assert_close(other.U @ other.V, (one.U @ one.V).transpose(1, 2))
    assert "linear2.U" not in found.tensors


def test_adversarial_draws_reconstruct_worse():
    target = TARGETS["tms"]
    found = started(target)
    seen = found.see(target.batch(generators(2, 1), 256))
    parts = [Part(tuple(target.layers))]
    draws = draws_for(parts, seen.importances, SeedDraws(generators(2, 2)), seen.batch.n_rows)
    worse = found.ascended(seen, parts, draws, 5)
    before = found.divergences(seen, found.masks(seen, parts, draws))
    after = found.divergences(seen, found.masks(seen, parts, worse))
    assert (after > before).all()
    assert all(0 <= one.min() and one.max() <= 1 for one in worse[0].values())


def test_the_stream_in_its_own_basis_is_the_same_function():
    """Against the residual MLP written out at full width."""
    target = resid_mlp()
    tensors = resid_mlp_tensors(target.settings, torch.Generator().manual_seed(0))
    x = torch.randn(1, 20, 6)
    stream = x @ tensors["W_E"]
    for i in range(2):
        neurons = (stream @ tensors[f"layers.{i}.W_in"].T).relu()
        stream = stream + neurons @ tensors[f"layers.{i}.W_out"].T
    given = replace(target.one_hot(1), x=x, weights=torch.ones(1, 20), n_rows=[20])
    out = target.forward(given, lambda name, a: target.layers[name].clean(a))
    assert_close(out, stream @ tensors["W_E"].T, atol=1e-5, rtol=1e-5)


def test_a_layer_without_any_tie_to_its_weights_is_refused():
    with pytest.raises(ValueError, match="nothing then ties"):
        DecompositionSettings(remainder=False)
    assert DecompositionSettings(**PAPER).weight_of("faithfulness") == 1


def test_an_update_of_a_toy_leaves_its_base_fixed_and_halves_its_data():
    base = {
        "kind": "tms", "n_features": 4, "n_hidden": 5, "active": (0, 1), "steps": 3, "batch": 16,
        "zero_bias": True,
    }  # fmt: skip
    made = experiment("update_tms", target={"base": base, "tuned": (3,)})
    target = build_target(made.target, Path())
    found = started(target)
    seen = found.see(target.batch(generators(2, 1), 400))
    x, counts = seen.batch.x, seen.batch.weights
    assert counts.sum(dim=1).tolist() == [400, 400]
    on = (x > 0).sum(dim=(0, 1))
    assert on[2] == 0
    assert 0 < int(on[3]) < int(on[:2].min())  # on in half of the data only
    masks = parts_masks(
        found, seen, [Part(("linear1", "linear2"), kind) for kind in ("none", "zero")]
    )
    errors = found.divergences(seen, masks)
    assert_close(errors[:, 0], torch.zeros(2), atol=1e-12, rtol=0)
    W, b = target.base["W"], target.tuned["b"]
    without = ((x @ W.T @ W + b).relu() - seen.output).square().mean(dim=-1)
    assert_close(errors[:, 1], (without * counts).sum(dim=1) / 400)
