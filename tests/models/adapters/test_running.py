"""A base with an adapter computes what PEFT computes, over one copy of the base's weights."""

import json

import pytest
import torch
from peft_adapters import KINDS, save_adapter, tiny_gpt2, tiny_llama
from torch.testing import assert_close

from lm_merge.models.adapters import read_adapter
from lm_merge.models.adapters.running import with_adapter

TOKENS = torch.arange(12).view(2, 6)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_peft(kind, tmp_path):
    base = tiny_llama()
    expected = save_adapter(base, tmp_path / "one", 0, **KINDS[kind])(TOKENS).logits
    model = with_adapter(base, read_adapter(tmp_path / "one"))
    assert_close(model(TOKENS).logits, expected, rtol=1e-5, atol=1e-5)
    assert (base(TOKENS).logits - expected).abs().max() > 0.1  # the update can be seen


def test_transposed_weights_of_gpt2(tmp_path):
    base = tiny_gpt2()
    settings = {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}
    expected = save_adapter(base, tmp_path / "one", 0, **settings)(TOKENS).logits
    assert_close(with_adapter(base, read_adapter(tmp_path / "one"))(TOKENS).logits, expected)


def test_the_base_is_untouched_and_its_weights_are_held_once(tmp_path):
    base = tiny_llama()
    before = base(TOKENS).logits
    save_adapter(base, tmp_path / "one", 0, r=4)
    model = with_adapter(base, read_adapter(tmp_path / "one"))
    assert torch.equal(base(TOKENS).logits, before)
    own = {parameter.data_ptr() for parameter in base.parameters()}
    assert {parameter.data_ptr() for parameter in model.parameters()} == own


def test_an_adapter_of_another_base_is_refused(tmp_path):
    save_adapter(tiny_llama(), tmp_path / "one", 0, r=4)
    adapter = read_adapter(tmp_path / "one")
    with pytest.raises(ValueError, match=r"'model.layers.0.*is not in the model \(GPT2"):
        with_adapter(tiny_gpt2(), adapter)
    wider = tiny_llama(head_dim=32)
    with pytest.raises(ValueError, match=r"update of shape \[16, 16\], the model's weight is"):
        with_adapter(wider, adapter)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"lora_bias": True}, "lora_bias"),
        ({"bias": "all"}, "bias='all'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"init_lora_weights": "olora"}, "init_lora_weights='olora'"),
        ({"peft_type": "LOHA"}, "peft_type 'LOHA'"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"r": 5}, "says rank 5"),
    ],
)
def test_adapters_that_are_no_plain_lora_are_refused_by_name(change, named, tmp_path):
    save_adapter(tiny_llama(), tmp_path / "one", 0, r=4)
    path = tmp_path / "one" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match="adapter") as raised:
        read_adapter(tmp_path / "one")
    assert named in str(raised.value)


def test_damaged_and_missing_files_are_told(tmp_path):
    save_adapter(tiny_llama(), tmp_path / "one", 0, r=4)
    weights = tmp_path / "one" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged"):
        read_adapter(tmp_path / "one")
    weights.unlink()
    with pytest.raises(OSError, match=r"adapter_model.safetensors is not there"):
        read_adapter(tmp_path / "one")
    with pytest.raises(OSError, match=r"adapter_config.json is not there"):
        read_adapter(tmp_path)
