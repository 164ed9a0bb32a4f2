"""A recipe of any space becomes something that speaks, or is refused before anything is loaded."""

import pytest
import torch
from pydantic import ValidationError

import lm_merge as lm
from lm_merge.models import load
from lm_merge.spaces import source_loader

TRIO = {"host": "tiny-instruct", "donors": ["tiny-thinker", "tiny-coder"]}
NOT_THERE = {"host": "no-such-model", "donors": ["nor-this"]}


def test_an_ensembles_weights_are_alpha_and_the_donors_parts():
    recipe = {"space": "logits", **TRIO, "alpha": 0.5, "donor_weights": [1.0, 3.0]}
    ensemble = lm.compose(recipe)
    assert isinstance(ensemble, lm.LogitEnsemble)
    assert ensemble.weights == (0.5, 0.125, 0.375)
    assert ensemble.method == "soft"
    assert lm.compose({"space": "logits", **TRIO}).weights == (1 / 3,) * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "amounts"),
    [
        ("soft", {"alpha": 0.3}),
        ("soft", {"alpha": 0.0}),
        ("mean", {"alpha": 0.5, "donor_weights": [0.25, 0.75]}),
        ("weighted_majority", {}),
        ("majority", {}),
    ],
)
def test_an_ensemble_knows_its_recipe_and_a_recipe_makes_the_ensemble(method, amounts, tmp_path):
    ensemble = lm.compose({"space": "logits", **TRIO, "operator": method, **amounts})
    again = lm.compose(ensemble.recipe.save(tmp_path / "r.yaml"))
    assert again.recipe == ensemble.recipe
    tokens = ensemble.host.to_tokens("12+34 = ?", chat=True).input_ids
    torch.testing.assert_close(again(tokens), ensemble(tokens))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"operator": "slrp"}, ValueError, "unknown method 'slrp'; choose from soft, mean"),
        ({"operator_args": {"k": 1.0}}, ValueError, "unknown to operator 'soft' of space 'logits'"),
        ({"alpha": 1.5}, ValueError, r"alpha=1.5 is outside 0\.\.1"),
        ({"alpha": 0.5, "operator": "majority"}, ValueError, "leave alpha out, or take 'weighted"),
        ({"alpha": 0.5, "donor_weights": [1.0, 2.0]}, ValueError, "2 entries for 1 donors"),
        ({"donor_weights": [1.0]}, ValidationError, "parts of alpha, which is missing"),
        ({"base": "tiny-instruct"}, ValidationError, "base: space 'logits' needs no ancestor"),
        ({"layers": [3]}, ValidationError, "layers: only space 'latents' takes this, not 'logits'"),
        ({"positions": "last"}, ValidationError, "positions: only space 'latents'"),
        (
            {"alpha": 0.5, "donor_weights": {3: [1.0]}},
            ValidationError,
            "by block are for space 'lat",
        ),
    ],
)
def test_an_ensembles_recipe_is_checked_before_anything_is_loaded(given, error, message):
    with pytest.raises(error, match=message):
        lm.compose({"space": "logits", **NOT_THERE, **given})


LATENTS = {"layers": [3], "alpha": 0.5}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": [3]}, "come without alpha"),
        ({"layers": [-1], "alpha": 0.5}, "layer=-1 is no block"),
        ({**LATENTS, "donor_weights": [1.0, 2.0]}, "2 entries for 1 donors"),
        ({**LATENTS, "operator": "task_vector"}, "needs base="),
        ({**LATENTS, "base": "nor-that"}, "operator 'slerp' takes no base"),
        ({**LATENTS, "operator_args": {"lambda_reg": 1.0}}, "operator 'slerp' .*; it takes none"),
        ({**LATENTS, "operator_args": {"foo": 1}}, "operator 'slerp' .*; it takes none"),
        (
            {**LATENTS, "operator": "regmean", "operator_args": {"lambda_reg": 1.0}},
            "lambda_reg=1.0 and alpha=0.5",
        ),
        ({"space": "weights", "operator": "ties"}, "method 'ties' needs an ancestor"),
        ({"space": "weights", "operator": "regmean"}, "needs data: give prompts"),
    ],
)
def test_a_merges_recipe_is_checked_before_anything_is_loaded(given, message):
    with pytest.raises(ValueError, match=message):
        lm.compose({**NOT_THERE, **given})


def test_a_host_that_is_the_ancestor_is_loaded_once(monkeypatch):
    asked = []
    monkeypatch.setattr(
        source_loader, "load_or_keep", lambda name, **how: asked.append(name) or load(name, **how)
    )
    recipe = {"host": "tiny-instruct", "donors": ["tiny-thinker"], "base": "tiny-instruct"}
    merge = lm.compose({**recipe, "operator": "task_vector", "layers": {3: 0.25}})
    assert asked == ["tiny-instruct", "tiny-thinker"]
    assert merge.base is merge.host
    lerp = lm.LatentMerge(merge.host, merge.donors, operator="lerp", layers={3: 0.25})
    tokens = merge.host.to_tokens("12+34 = ?").input_ids
    torch.testing.assert_close(merge(tokens), lerp(tokens), atol=1e-4, rtol=1e-4)


def test_a_recipe_cannot_name_a_merge_that_was_in_memory_only(tiny_thinker):
    recipe = {"space": "weights", "host": "tiny-instruct", "donors": ["tiny-coder"]}
    merged = lm.compose({**recipe, "operator": "lerp", "alpha": 0.5})
    assert "/" not in str(merged.source)
    for merge in (
        lm.LatentMerge(merged, tiny_thinker, layers=[3], alpha=0.5),
        lm.LatentMerge(tiny_thinker, merged, layers=[3], alpha=0.5),
        lm.LogitEnsemble([tiny_thinker, merged]),
    ):
        with pytest.raises(ValueError, match="merged in memory .* write it with lm.merge_weights"):
            _ = merge.recipe


@pytest.mark.slow
def test_a_weight_merge_computes_in_its_hosts_dtype_without_rounding_in_between():
    recipe = {"space": "weights", **TRIO, "operator": "lerp", "alpha": 0.3}
    merged = lm.compose(recipe)  # the trio's files hold bfloat16, and it computes in float32
    parts = [
        lm.load(name).native.get_input_embeddings().weight
        for name in ("tiny-instruct", *TRIO["donors"])
    ]
    expected = 0.7 * parts[0] + 0.15 * parts[1] + 0.15 * parts[2]
    weight = merged.native.get_input_embeddings().weight
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight, expected, atol=1e-6, rtol=0.0)
    assert lm.compose(recipe, dtype="bfloat16").dtype == torch.bfloat16
    assert merged.generate("What is the capital of Norway?", chat=True, max_new_tokens=8)


def test_loaded_models_are_taken_where_they_are_the_ones_named(tiny_instruct):
    recipe = {"host": "tiny-instruct", "donors": ["tiny-thinker"], "layers": {3: 0.25}}
    merge = lm.compose(recipe, loaded=[tiny_instruct])
    assert merge.host is tiny_instruct
    for other in ({"dtype": "bfloat16"}, {"revision": "step2000"}):
        named = {**recipe, "host": {"model": "tiny-instruct", **other}}
        assert lm.compose(named, loaded=[tiny_instruct]).host is not tiny_instruct
