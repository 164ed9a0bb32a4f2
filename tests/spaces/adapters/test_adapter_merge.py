"""Merged adapters equal the dense arithmetic, are reversible, and show in both views."""

import pytest
import torch
from peft_adapters import KINDS, save_adapter, tiny_gpt2, tiny_llama
from torch.testing import assert_close

import lm_merge as lm
from lm_merge.coefficients.groups import Rule
from lm_merge.models.adapters import read_adapter
from lm_merge.models.adapters.running import with_adapter
from lm_merge.spaces.adapters.adapter_merge import AdapterMerge

TOKENS = torch.arange(12).view(2, 6)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Adapters of one base: plain, with rsLoRA, and with other ranks and modules."""
    root = tmp_path_factory.mktemp("adapters")
    for seed, kind in enumerate(("plain", "rslora", "patterns", "unembedding")):
        save_adapter(tiny_llama(), root / kind, seed, **KINDS[kind])
    return root


@pytest.fixture(scope="module")
def host():
    return lm.wrap(tiny_llama())


def adapters(folders, *names):
    return [read_adapter(folders / name) for name in names]


def dense_logits(adapters, rows):
    """Logits of the base with the weighted updates put into its weights."""
    model = tiny_llama()
    with torch.no_grad():
        for key, row in rows.items():
            weight = model.get_submodule(key).weight
            for adapter, c in zip(adapters, row, strict=True):
                if key in adapter.deltas:
                    weight += c * adapter.deltas[key].dense()
    return model(TOKENS).logits


@pytest.mark.parametrize("row", [(0.7, 0.3, 0.5), (1.0, -0.5, 0.0), (0.0, 0.0, 2.0)])
def test_a_sum_is_the_dense_sum(row, host, folders):
    parts = adapters(folders, "plain", "rslora", "patterns")
    merge = AdapterMerge(host, parts, coefficients=row)
    assert_close(merge(TOKENS), dense_logits(parts, merge.coefficients), rtol=1e-5, atol=1e-5)


def test_one_adapter_with_coefficient_one_is_that_adapter(host, folders):
    parts = adapters(folders, "plain", "rslora")
    expected = with_adapter(tiny_llama(), parts[1])(TOKENS).logits
    assert_close(AdapterMerge(host, parts, coefficients=(0.0, 1.0))(TOKENS), expected)
    assert_close(AdapterMerge(host, parts[1:])(TOKENS), expected)


def test_equal_parts_by_any_route_are_equal_bit_for_bit(host, folders):
    parts = adapters(folders, "plain", "rslora")
    routes = [
        AdapterMerge(host, parts),
        AdapterMerge(host, parts, alpha=1.0, donor_weights=[3.0, 3.0]),
        AdapterMerge(host, parts, coefficients=(0.5, 0.5)),
        AdapterMerge(host, parts, coefficients=[Rule(((0.5, 0.5),))]),
    ]
    first, *others = [merge(TOKENS) for merge in routes]
    assert all(torch.equal(first, other) for other in others)


def test_leaving_the_hooks_restores_the_host_bit_for_bit(host, folders):
    before = host(TOKENS)
    for operator in ("linear", "ties"):
        merge = AdapterMerge(host, adapters(folders, "plain", "rslora"), operator=operator)
        with pytest.raises(OSError), merge.hooks():  # noqa: PT011, PT012 # any error inside
            assert not torch.equal(host(TOKENS), before)
            read_adapter(folders)  # no adapter folder
        assert torch.equal(host(TOKENS), before)


def test_coefficients_of_zero_leave_the_host_bit_for_bit(host, folders):
    before, parts = host(TOKENS), adapters(folders, "plain", "rslora")
    assert torch.equal(AdapterMerge(host, parts, alpha=0.0)(TOKENS), before)


@pytest.mark.parametrize("operator", ["linear", "ties", "factor_mean"])
def test_both_views_see_the_merge(operator, host, folders):
    names = ("plain", "rslora") if operator != "factor_mean" else ("plain",)
    merge = AdapterMerge(host, adapters(folders, *names), operator=operator)
    expected = merge(TOKENS)
    logits, cache = merge.run_with_cache(TOKENS)
    assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert cache["resid_post", 1].shape == (2, 6, 16)
    with merge.hooks():
        assert_close(host.hooked(TOKENS), expected, rtol=1e-4, atol=1e-4)
        assert_close(host.native(TOKENS).logits, expected)


def test_a_folded_sum_is_the_sum_in_both_views_and_leaves_the_host_bit_for_bit(host, folders):
    parts, before = adapters(folders, "plain", "patterns"), host(TOKENS)
    merge = AdapterMerge(host, parts, coefficients=(0.7, -0.4))
    expected, added = merge(TOKENS), merge.fuses
    kept = {name: one.data_ptr() for name, one in host.native.named_parameters()}
    with merge.hooks(folded=True):
        for module in host.native.modules():
            assert not module._forward_hooks
        folded = merge(TOKENS)
        assert_close(folded, expected, rtol=1e-5, atol=1e-5)
        assert_close(merge.run_with_cache(TOKENS)[0], expected, rtol=1e-4, atol=1e-4)
        merge.coefficients = (0.2, 0.9)
        assert_close(
            merge(TOKENS),
            AdapterMerge(lm.wrap(tiny_llama()), parts, coefficients=(0.2, 0.9))(TOKENS),
            rtol=1e-5,
            atol=1e-5,
        )
        rows = {key: torch.ones(2, requires_grad=True) for key in merge.coefficients}
        with pytest.raises(RuntimeError, match="leave the merge's hooks first"):
            merge.coefficient_tensors(rows).__enter__()
    assert {name: one.data_ptr() for name, one in host.native.named_parameters()} == kept
    assert torch.equal(host(TOKENS), before)
    assert added
    assert merge.fuses
    with merge.hooks(), pytest.raises(RuntimeError, match="leave them before it is folded"):
        merge.hooks(folded=True).__enter__()


@pytest.mark.parametrize("operator", ["linear", "ties"])
def test_coefficients_are_live(operator, host, folders):
    parts = adapters(folders, "plain", "rslora")
    merge = AdapterMerge(host, parts, operator=operator)
    with merge.hooks():
        host(TOKENS)
        merge.coefficients = (0.9, 0.1)
        inside = host(TOKENS)
    other = AdapterMerge(lm.wrap(tiny_llama()), parts, operator=operator, coefficients=(0.9, 0.1))
    assert torch.equal(other(TOKENS), inside)


def test_rules_by_module_and_depth(host, folders):
    parts = adapters(folders, "plain", "rslora")
    rules = [Rule(((0.7, 0.6),), filter="mlp"), Rule(((0.0, 1.0), (1.0, 0.0)))]
    merge = AdapterMerge(host, parts, coefficients=rules)
    rows = merge.coefficients
    assert rows["model.layers.0.mlp.down_proj"] == (0.7, 0.6)
    assert rows["model.layers.0.self_attn.q_proj"] == (0.0, 1.0)
    assert rows["model.layers.1.self_attn.q_proj"] == (1.0, 0.0)
    assert_close(merge(TOKENS), dense_logits(parts, rows), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="so there is no one alpha"):
        _ = merge.alpha


def test_key_modes(host, folders):
    parts = adapters(folders, "plain", "unembedding")  # q, v, down and v, lm_head
    union, common = AdapterMerge(host, parts), AdapterMerge(host, parts, keys="common")
    assert "lm_head" in union.coefficients
    assert set(common.coefficients) == {f"model.layers.{n}.self_attn.v_proj" for n in (0, 1)}
    assert "drops" in common.notes[0]
    assert_close(union(TOKENS), dense_logits(parts, union.coefficients), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"'plain' lacks lm_head; 'unembedding' lacks .*q_proj"):
        AdapterMerge(host, parts, keys="strict")


def test_the_gradient_of_a_coefficient_is_that_of_the_dense_sum(host, folders):
    parts = adapters(folders, "plain", "rslora")
    merge = AdapterMerge(host, parts, coefficients=(0.4, 0.6))
    row = torch.tensor([0.4, 0.6], requires_grad=True)
    with merge.coefficient_tensors(dict.fromkeys(merge.coefficients, row)):
        merge(TOKENS).square().sum().backward()
    eps, keys = 1e-3, merge.coefficients
    for source in range(2):
        step = torch.tensor([0.0, 0.0])
        step[source] = eps
        up = dense_logits(parts, {key: tuple((row + step).tolist()) for key in keys})
        down = dense_logits(parts, {key: tuple((row - step).tolist()) for key in keys})
        slope = (up.square().sum() - down.square().sum()) / (2 * eps)
        assert_close(row.grad[source], slope.detach(), rtol=1e-2, atol=1e-1)


def test_a_view_that_splits_a_weight_is_refused_and_the_native_one_works(tmp_path):
    save_adapter(
        tiny_gpt2(), tmp_path / "one", 0, r=4, target_modules=["c_attn"], fan_in_fan_out=True
    )
    host = lm.wrap(tiny_gpt2())
    adapter = read_adapter(tmp_path / "one")
    merge = AdapterMerge(host, [adapter])
    expected = with_adapter(tiny_gpt2(), merge.adapters[0])(TOKENS).logits
    assert_close(merge(TOKENS), expected)
    with pytest.raises(ValueError, match=r"does not compute with 2 of the updated modules"):
        merge.run_with_cache(TOKENS)
    dense, plain = AdapterMerge(host, [adapter], operator="ties"), host.hooked(TOKENS)
    with pytest.raises(ValueError, match=r"does not compute with 2 of the updated modules"):
        dense.run_with_cache(TOKENS)
    assert torch.equal(host.hooked(TOKENS), plain)
