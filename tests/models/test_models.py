"""Two views of one set of weights, for every family; loading and wrapping."""

import copy

import pytest
import torch
from families import CONFIGS, FAMILIES, random_lm, random_model, random_tokens
from torch.testing import assert_close
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import build_bridge_from_module

import lm_merge as lm
from lm_merge.models import loading
from lm_merge.models.weight_sharing import weight_sharing_copy
from lm_merge.sites import record_resid_post

COPYING_FAMILIES = {
    "gpt2",
    "gpt_neox",
}  # their bridges hold a second copy of fused attention weights


@pytest.mark.parametrize("family", FAMILIES)
def test_both_views_give_the_models_own_logits(family):
    model = random_model(family, seed=0)
    expected = model(random_tokens(2, 9)).logits
    wrapped = lm.wrap(model)
    assert wrapped.native is model
    assert torch.equal(model(random_tokens(2, 9)).logits, expected)  # wrapping changed nothing
    assert_close(wrapped.hooked(random_tokens(2, 9)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_edit_of_a_weight_shows_in_both_views_and_nothing_is_held_twice(family):
    wrapped = random_lm(family, 0)
    before = wrapped.hooked(random_tokens(1, 5))
    assert wrapped.shares_weights == (family not in COPYING_FAMILIES)
    with torch.no_grad():
        wrapped.native_part("unembed").weight.mul_(2.0)
        wrapped.native_part("ln_final").weight.mul_(1.5)
    after = wrapped.native(random_tokens(1, 5)).logits
    assert not torch.allclose(before, after)
    assert_close(wrapped.hooked(random_tokens(1, 5)), after, atol=1e-4, rtol=1e-4)


@pytest.fixture
def built(monkeypatch):
    """Names of the models whose bridges have been built."""
    names = []

    def build(*arguments, **keywords):
        names.append(keywords["model_name"])
        return build_bridge_from_module(*arguments, **keywords)

    monkeypatch.setattr("transformer_lens.model_bridge.sources.build_bridge_from_module", build)
    return names


def test_the_hooked_view_is_built_once_and_only_when_it_is_asked_for(built):
    host, donor = lm.load("tiny-instruct"), lm.load("tiny-thinker")
    merge = lm.LatentMerge(host, donor, layers=[3], alpha=0.5)
    merge.generate("47+38 = ?", chat=True, max_new_tokens=4)
    merge(host.to_tokens("47+38 = ?").input_ids)
    assert built == []
    cfg = host.cfg
    with merge.hooks():  # every caller's view is merged inside
        assert host.hooked is host.hooked
    assert built == ["tiny-instruct"]
    for name in ("n_layers", "d_model", "eps", "normalization_type", "n_ctx"):
        assert getattr(cfg, name) == getattr(host.hooked.cfg, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hooked_view_built_late_has_what_became_of_the_weights(family):
    wrapped = random_lm(family, 0).to(torch.float64)
    with torch.no_grad():
        wrapped.native_part("unembed").weight.mul_(2.0)
    with torch.inference_mode():
        late = wrapped.hooked(random_tokens(1, 5))
        assert_close(late, wrapped.native(random_tokens(1, 5)).logits, atol=1e-5, rtol=1e-4)
    assert not any(parameter.is_inference() for parameter in wrapped.hooked.parameters())
    assert wrapped.hooked(random_tokens(1, 5)).requires_grad  # as if built at once


def test_an_architecture_without_adapter_is_refused_at_once():
    strange = type("StrangeForCausalLM", (type(random_model("qwen2", 0)),), {})
    model = strange(copy.deepcopy(CONFIGS["qwen2"]))
    with pytest.raises(ValueError, match="StrangeForCausalLM"):
        lm.wrap(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bridge_gets_a_native_view_over_its_own_weights(family):
    model = random_model(family, seed=0)
    expected = model(random_tokens(2, 9)).logits
    bridge = build_bridge_from_module(
        copy.deepcopy(model), type(model).__name__, hf_config=model.config
    )
    assert isinstance(bridge, TransformerBridge)
    wrapped = lm.wrap(bridge)
    assert wrapped.hooked is bridge
    assert_close(wrapped.native(random_tokens(2, 9)).logits, expected, atol=1e-4, rtol=1e-4)
    pointers = {parameter.data_ptr() for parameter in bridge.original_model.parameters()}
    assert all(parameter.data_ptr() in pointers for parameter in wrapped.native.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_streams_are_transformer_lenss_resid_post(family):
    wrapped, tokens = random_lm(family, 0), random_tokens(2, 9)
    recorded = record_resid_post(wrapped, tokens, torch.ones_like(tokens))
    _, cache = wrapped.hooked.run_with_cache(tokens)
    for layer in range(wrapped.n_layers):
        assert_close(recorded[layer], cache["resid_post", layer], atol=1e-4, rtol=1e-4)


def test_a_twin_shares_every_tensor_and_no_hook():
    model = random_model("qwen2", 0)
    calls = []
    model.model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    twin = weight_sharing_copy(model)
    ours = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    assert all(t.data_ptr() in ours for t in (*twin.parameters(), *twin.buffers()))
    assert torch.equal(twin(random_tokens(1, 4)).logits, model(random_tokens(1, 4)).logits)
    assert calls == [1]  # the model's own pass alone


def test_a_folder_without_tokenizer_takes_ids_and_says_so_when_asked_for_text(tmp_path):
    random_model("qwen2", 0).save_pretrained(tmp_path / "bare")
    model = lm.load(tmp_path / "bare")
    assert model.tokenizer is None
    assert model.generate(random_tokens(1, 4), max_new_tokens=2).shape == (1, 6)
    with pytest.raises(ValueError, match="'bare' came without tokenizer files"):
        model.generate("Hello")


def test_dtype_is_the_one_asked_for_or_the_checkpoints(tmp_path):
    random_model("qwen2", 0).to(torch.bfloat16).save_pretrained(tmp_path / "half")
    assert lm.load(tmp_path / "half").dtype == torch.bfloat16
    assert lm.load(tmp_path / "half", dtype="float32").dtype == torch.float32
    with pytest.raises(ValueError, match="dtype='float31' is no torch dtype"):
        lm.load(tmp_path / "half", dtype="float31")


def test_an_unknown_name_lists_the_bundled_ones():
    with pytest.raises(OSError, match="tiny-instruct, tiny-thinker, tiny-coder"):
        lm.load("tiny-instrukt")


def test_a_misspelt_bundled_name_is_told_at_once_without_asking_the_hub(monkeypatch, tmp_path):
    def asked(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("lm_merge.models.loading.AutoModelForCausalLM.from_pretrained", asked)
    with pytest.raises(
        OSError, match="'tiny-instuct' is no folder .* did you mean 'tiny-instruct'"
    ):
        lm.load("tiny-instuct")
    (tmp_path / "tiny-codr").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("tiny-codr", "gpt2"):  # a folder, and a name that is not near
        with pytest.raises(AssertionError, match="the hub was asked"):
            lm.load(name)


def test_what_is_there_and_does_not_load_keeps_its_own_words(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)^(?!.*no bundled name).*nonsense"):
        lm.load("tiny-instruct", attn_implementation="nonsense")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(OSError, match="is no folder with a model, no bundled name"):
        lm.load(tmp_path)


def test_the_tokenizer_is_fetched_as_the_model_is(tmp_path, monkeypatch, tiny_instruct):
    tiny_instruct.native.save_pretrained(tmp_path / "inner")
    tiny_instruct.tokenizer.save_pretrained(tmp_path / "inner")
    assert lm.load(tmp_path, subfolder="inner").tokenizer is not None
    asked = {}
    given = {"token": "hf_x", "cache_dir": str(tmp_path), "local_files_only": True}
    monkeypatch.setattr(
        loading.AutoTokenizer, "from_pretrained", lambda _, **how: asked.update(how)
    )
    lm.load("tiny-instruct", **given)
    assert given.items() <= asked.items()


def test_a_hooked_transformer_is_told_what_it_lacks():
    model = random_lm("qwen2", 0)
    model.native = None
    with pytest.raises(
        ValueError, match="is a HookedTransformer; the read-out needs the native view"
    ):
        model.readout(torch.zeros(1, model.d_model))
    tokens = random_tokens(1, 3)
    with pytest.raises(
        ValueError, match="is a HookedTransformer; a recording needs the native view"
    ):
        record_resid_post(model, tokens, torch.ones_like(tokens))


def test_wrap_refuses_what_is_no_model():
    with pytest.raises(TypeError, match="cannot wrap Linear"):
        lm.wrap(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("mode", [True, False])
def test_both_views_and_donors_follow_the_models_mode(mode):
    changes = {"resid_pdrop": 0.5, "embd_pdrop": 0.5}
    host, donor = (lm.wrap(random_model("gpt2", seed, **changes)) for seed in (0, 1))
    merge = lm.LatentMerge(host, donor, layers=[1], alpha=0.5, operator="lerp")
    only_donor = lm.LatentMerge(host, donor, layers=[3], alpha=1.0, operator="lerp")
    tokens = random_tokens(1, 8)
    for model in (host, donor):
        model.native.train(mode)
    assert torch.equal(host.hooked(tokens), host.hooked(tokens)) is not mode
    assert torch.equal(merge(tokens), merge(tokens)) is not mode
    host.native.eval()
    assert torch.equal(only_donor(tokens), only_donor(tokens)) is not mode
    donor.native.eval()
    assert torch.equal(only_donor(tokens), only_donor(tokens))


def test_moving_a_model_casts_both_views():
    model = random_lm("qwen2", 0).to(torch.bfloat16)
    assert model.native(random_tokens(1, 4)).logits.dtype == torch.bfloat16
    assert model.hooked(random_tokens(1, 4)).dtype == torch.bfloat16


def test_a_model_remembers_where_it_came_from(tmp_path):
    random_model("qwen2", 0).save_pretrained(tmp_path / "m")
    folder = str(tmp_path / "m")
    assert lm.load(folder).source == folder
    cast = lm.load(folder, dtype="torch.bfloat16").source
    assert (cast.model, cast.dtype) == (folder, "bfloat16")
    assert lm.wrap(lm.load(folder).native).source == folder


def test_a_device_that_is_not_there_is_refused_before_loading(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device='gpu' is no torch device; try cpu, cuda"):
        lm.load("tiny-instruct", device="gpu")
    with pytest.raises(ValueError, match="device='cuda:1', but torch sees no CUDA device"):
        lm.load("tiny-instruct", device="cuda:1")
