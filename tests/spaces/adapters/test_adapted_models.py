"""A base with an adapter is a source in every space, over one copy of the base's weights."""

import pytest
import torch
from peft_adapters import KINDS, save_adapter, tiny_gpt2, tiny_llama
from torch.testing import assert_close

import lm_merge as lm
from lm_merge.models.adapters.adapted import with_named_adapter
from lm_merge.models.checkpoint_files import SINGLE
from lm_merge.spaces.weights.adapted import with_updates
from lm_merge.spaces.weights.checkpoint import open_checkpoint
from lm_merge.spaces.weights.statistics import fishers, whole_model

TOKENS = torch.arange(12).view(2, 6)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def places(request, tmp_path_factory):
    """A base, an adapter of it, and the model into which PEFT merges both, in folders."""
    root = tmp_path_factory.mktemp(request.param)
    model, settings = {
        "llama": (tiny_llama, KINDS["patterns"]),
        "gpt2": (tiny_gpt2, {"r": 3, "target_modules": ["c_proj"], "fan_in_fan_out": True}),
    }[request.param]
    model().save_pretrained(root / "base")
    peft = save_adapter(model(), root / "adapter", 0, **settings)
    peft.merge_and_unload().save_pretrained(root / "merged")
    return root


def source(places):
    return {"model": str(places / "base"), "adapter": str(places / "adapter")}


def both(places, **recipe):
    """A recipe with the base and its adapter as a donor, and with the merged model as a donor."""
    host = {"host": str(places / "base")}
    donors = source(places), str(places / "merged")
    return [lm.compose({**host, "donors": [donor], **recipe}) for donor in donors]


def test_a_model_loaded_with_an_adapter_is_the_merged_model(places):
    model = lm.load(places / "base", adapter=places / "adapter")
    expected = lm.load(places / "merged")
    assert model.name == "base+adapter"
    assert not torch.equal(model(TOKENS), lm.load(places / "base")(TOKENS))
    assert_close(model(TOKENS), expected(TOKENS), **CLOSE)
    assert_close(model.hooked(TOKENS), expected(TOKENS), **CLOSE)


@pytest.mark.parametrize(
    "recipe",
    [
        {"layers": {0: 0.5}},
        {"layers": {1: 0.7}, "operator": "lerp", "donor_stream": "coupled"},
        {"space": "logits", "alpha": 0.3, "operator": "mean"},
    ],
)
def test_an_adapter_as_a_donor_equals_the_merged_model_and_shares_the_weights(recipe, places):
    ours, theirs = both(places, **recipe)
    assert_close(ours(TOKENS), theirs(TOKENS), **CLOSE)
    own = {one.data_ptr() for one in ours.host.native.parameters()}
    assert {one.data_ptr() for one in ours.donors[0].native.parameters()} == own
    assert lm.compose(ours.recipe).recipe == ours.recipe


@pytest.mark.parametrize(
    "recipe",
    [
        {"operator": "linear", "alpha": 0.3},
        {"operator": "slerp", "alpha": 0.5},
        {"operator": "ties", "alpha": 1.0, "operator_args": {"density": 0.5}, "base": True},
    ],
)
def test_a_weight_merge_reads_the_base_with_its_update(recipe, places):
    base = {"base": str(places / "base")} if recipe.get("base") else {}
    ours, theirs = both(places, **{**recipe, "space": "weights", **base})
    assert not torch.equal(ours(TOKENS), lm.load(places / "base")(TOKENS))
    assert_close(ours(TOKENS), theirs(TOKENS), **CLOSE)


def test_a_weight_merge_with_such_a_host_gives_one_dtype_and_reads_each_tensor_once(
    places, tmp_path
):
    recipe = {"space": "weights", "host": source(places), "donors": [str(places / "base")]}
    out = lm.merge_weights({**recipe, "operator": "linear", "alpha": 0.0}, tmp_path / "out")
    assert_close(lm.load(out)(TOKENS), lm.load(places / "merged")(TOKENS), **CLOSE)
    assert f"with adapter `{places / 'adapter'}`" in (out / "README.md").read_text()
    assert (out / SINGLE).stat().st_size == pytest.approx(
        (places / "merged" / SINGLE).stat().st_size, rel=0.05
    )


def test_statistics_are_those_of_the_model_with_its_adapter(places):
    base, merged = (open_checkpoint(places / name, name) for name in ("base", "merged"))
    ours = fishers(whole_model(with_updates(base, str(places / "adapter"))), [TOKENS[:1]])
    theirs = fishers(whole_model(merged), [TOKENS[:1]])
    for name in base.entries.keys() & theirs.keys():
        assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-5)


def test_an_adapter_of_a_tied_unembedding_is_no_source_of_a_weight_merge(tmp_path):
    base = tiny_llama(tie_word_embeddings=True)
    base.save_pretrained(tmp_path / "base")
    save_adapter(base, tmp_path / "head", 0, r=2, target_modules=["lm_head"])
    save_adapter(base, tmp_path / "embedding", 0, r=2, target_modules=["embed_tokens"])
    for name, message in (("head", "which .* does not hold"), ("embedding", "would change both")):
        donor = {"model": str(tmp_path / "base"), "adapter": str(tmp_path / name)}
        recipe = {"space": "weights", "host": str(tmp_path / "base"), "donors": [donor]}
        with pytest.raises(ValueError, match=message):
            lm.merge_weights({**recipe, "operator": "linear", "alpha": 0.5}, tmp_path / "out")


def test_an_adapter_on_an_adapter_is_refused(places):
    model = lm.load(places / "base", adapter=places / "adapter")
    with pytest.raises(ValueError, match="runs with an adapter already"):
        with_named_adapter(model, str(places / "adapter"))
