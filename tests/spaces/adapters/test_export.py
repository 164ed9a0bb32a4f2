"""What is written loads again, in PEFT and in plain transformers, and computes the merge."""

import pytest
import torch
from peft import PeftModel
from peft_adapters import KINDS, save_adapter, tiny_gpt2, tiny_llama
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

import lm_merge as lm
from lm_merge.models.adapters import read_adapter
from lm_merge.models.adapters.running import with_adapter
from lm_merge.spaces.adapters.adapter_merge import AdapterMerge
from lm_merge.spaces.adapters.export import write_adapters

TOKENS = torch.arange(12).view(2, 6)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    for seed, (kind, settings) in enumerate(KINDS.items()):
        save_adapter(tiny_llama(), root / kind, seed, **settings)
    return root


def merge_of(folders, *names, **settings):
    return AdapterMerge(lm.wrap(tiny_llama()), [folders / name for name in names], **settings)


@pytest.mark.parametrize("other", [kind for kind in KINDS if kind != "plain"])
def test_peft_loads_an_exact_export_of_every_kind(other, folders, tmp_path):
    merge = merge_of(folders, "plain", other, coefficients=(0.7, -0.4))
    written = write_adapters(merge, tmp_path)
    expected = merge(TOKENS)
    loaded = PeftModel.from_pretrained(tiny_llama(), str(tmp_path)).eval()
    assert_close(loaded(TOKENS).logits, expected, rtol=1e-5, atol=1e-5)
    own = with_adapter(tiny_llama(), read_adapter(tmp_path))
    assert_close(own(TOKENS).logits, expected, rtol=1e-5, atol=1e-5)
    assert written.worst_error == 0.0


def test_transposed_weights_are_written_in_their_orientation(tmp_path):
    settings = {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}
    for seed in range(2):
        save_adapter(tiny_gpt2(), tmp_path / f"a{seed}", seed, r=2, **settings)
    merge = AdapterMerge(lm.wrap(tiny_gpt2()), [tmp_path / "a0", tmp_path / "a1"])
    (tmp_path / "out").mkdir()
    write_adapters(merge, tmp_path / "out")
    loaded = PeftModel.from_pretrained(tiny_gpt2(), str(tmp_path / "out")).eval()
    assert_close(loaded(TOKENS).logits, merge(TOKENS), rtol=1e-5, atol=1e-5)


def test_a_compressed_export_has_the_error_that_it_reports(folders, tmp_path):
    merge = merge_of(folders, "plain", "rslora")
    written = write_adapters(merge, tmp_path, "svd", rank=4)
    again = read_adapter(tmp_path)
    for key in merge.updates.keys:
        exact = merge.updates.dense(key)
        error = (again.deltas[key].dense() - exact).norm() / exact.norm()
        assert written.relative_errors[key] == pytest.approx(float(error), abs=1e-6)
        assert again.deltas[key].rank == 4
    assert written.worst_error > 0.1


def test_full_matrices_are_written_compressed_or_whole(folders, tmp_path):
    merge = merge_of(folders, "plain", "rslora", operator="ties", density=0.5)
    for form in ("lora", "svd", "delta", "model"):
        (tmp_path / form).mkdir()
    with pytest.raises(ValueError, match="full matrices"):
        write_adapters(merge, tmp_path / "lora")
    assert write_adapters(merge, tmp_path / "svd", "svd", max_error=0.2).worst_error <= 0.2
    write_adapters(merge, tmp_path / "delta", "delta")
    assert (tmp_path / "delta" / "delta.safetensors").is_file()
    before = merge.host(TOKENS)
    write_adapters(merge, tmp_path / "model", "model")
    assert torch.equal(merge.host(TOKENS), before)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert_close(loaded(TOKENS).logits, merge(TOKENS))


def test_wrong_forms_are_refused(folders, tmp_path):
    merge = merge_of(folders, "plain", "rslora")
    with pytest.raises(ValueError, match="form='lra' is unknown; choose from lora, svd"):
        write_adapters(merge, tmp_path, "lra")
    with pytest.raises(ValueError, match="needs rank or max_error"):
        write_adapters(merge, tmp_path, "svd")
    with pytest.raises(ValueError, match="not compressed"):
        write_adapters(merge, tmp_path, "lora", rank=3)
    merge.alpha = 0.0
    with pytest.raises(ValueError, match="every coefficient is 0"):
        write_adapters(merge, tmp_path)
