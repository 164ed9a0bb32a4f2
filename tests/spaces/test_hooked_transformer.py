"""TransformerLens 3.9's HookedTransformer merges as the native view does."""

import warnings
from importlib.metadata import version

import pytest
import torch
from families import random_lm, random_model, random_tokens
from torch.testing import assert_close

import lm_merge as lm

pytestmark = pytest.mark.skipif(
    int(version("transformer-lens").split(".")[0]) >= 4,
    reason="TransformerLens 4 has no HookedTransformer",
)


def hooked_transformer(folder, seed: int):
    """A HookedTransformer on the weights of a random Qwen2, loaded offline without any processing."""
    from transformer_lens import HookedTransformer
    from transformer_lens import loading_from_pretrained as loading

    model = random_model("qwen2", seed)
    model.save_pretrained(folder)
    cfg = loading.get_pretrained_model_config(
        str(folder), hf_cfg=model.config.to_dict(), fold_ln=False, device="cpu"
    )
    weights = loading.get_pretrained_state_dict(str(folder), cfg, hf_model=model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.9 says that 4.0 removes the class
        hooked = HookedTransformer(cfg)
    hooked.load_and_process_state_dict(
        weights,
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    return hooked


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    found = [hooked_transformer(tmp_path_factory.mktemp("ht"), seed) for seed in (0, 1)]
    for hooked in found:
        hooked.tokenizer = None  # transformers makes one of a single token for these folders
    return [lm.wrap(hooked) for hooked in found]


def merge_of(models, **arguments) -> lm.LatentMerge:
    defaults = {"operator": "slerp", "layers": [1, 3], "alpha": 0.4}
    return lm.LatentMerge(models[0], models[1], **{**defaults, **arguments})


def test_a_tokenizer_made_without_files_does_not_decide_what_is_drawn(tmp_path):
    model = lm.wrap(hooked_transformer(tmp_path, 0))
    with pytest.raises(ValueError, match="no token besides its special ones"):
        model.generate(random_tokens(2, 9), max_new_tokens=2)


@pytest.mark.parametrize("positions", ["all", "last"])
def test_its_merge_is_that_of_the_native_view(pair, positions):
    tokens = random_tokens(2, 9)
    native = merge_of([random_lm("qwen2", 0), random_lm("qwen2", 1)], positions=positions)
    legacy = merge_of(pair, positions=positions)
    assert pair[0].native is None
    assert_close(legacy(tokens), native(tokens), atol=1e-4, rtol=1e-4)
    assert_close(legacy.run_with_cache(tokens)[0], native(tokens), atol=1e-4, rtol=1e-4)
    common = {"max_new_tokens": 6, "do_sample": False}
    expected = native.generate(tokens, eos_token_id=None, **common)
    assert torch.equal(legacy.generate(tokens, **common), expected)
    uncached = legacy.generate(tokens, use_past_kv_cache=False, **common)
    assert torch.equal(uncached, expected)


def test_alpha_zero_self_merge_and_leaving_no_trace(pair):
    tokens = random_tokens(2, 9)
    plain = pair[0].hooked(tokens)
    assert torch.equal(merge_of(pair, alpha=0.0)(tokens), plain)
    assert_close(merge_of([pair[0], pair[0]])(tokens), plain, atol=1e-5, rtol=1e-5)
    with merge_of(pair).hooks() as merge:
        inside = pair[0].hooked.run_with_hooks(tokens, fwd_hooks=[])
        assert torch.equal(inside, pair[0].hooked(tokens))
        assert not torch.allclose(inside, plain)
    assert torch.equal(pair[0].hooked(tokens), plain)
    assert merge.host.merge_attached is None


def test_it_does_not_mix_with_models_that_have_a_native_view(pair):
    with pytest.raises(ValueError, match="merges with HookedTransformers only"):
        merge_of([pair[0], random_lm("qwen2", 1)])
    with pytest.raises(ValueError, match="'coupled' needs models with a native view"):
        merge_of(pair, donor_stream="coupled")
