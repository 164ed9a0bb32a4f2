"""Blocks put together anew keep their kind, and the language model's blocks are the ones that count."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families import random_model
from transformers import AutoModelForCausalLM, Qwen3MoeConfig

import lm_merge as lm
from lm_merge.spaces.weights.blocks import find_blocks


def passthrough(folder: Path, *ranges: tuple[int, int]) -> dict[str, Any]:
    sources = [{"model": str(folder), "layer_range": list(one)} for one in ranges]
    slices = [{"sources": [source]} for source in sources]
    return {"merge_method": "passthrough", "slices": slices, "dtype": "float32"}


def test_attention_that_a_rule_gives_by_number_is_written_for_each_block(tmp_path):
    changes = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}
    random_model("qwen2", 1, **changes, layer_types=None).save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    content = json.loads(path.read_text())
    content.pop("layer_types", None)
    path.write_text(json.dumps(content))
    kinds = lm.load(tmp_path / "model").require_native("the test").config.layer_types
    assert len(set(kinds)) == 2
    out = lm.merge_weights(
        passthrough(tmp_path / "model", (2, 4), (0, 2), (3, 4)), tmp_path / "out"
    )
    merged = lm.load(out).require_native("the test").config
    assert merged.layer_types == [kinds[block] for block in (2, 3, 0, 1, 3)]


def moe(folder: Path, **changes: Any) -> None:
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=8,
        **changes,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def test_lists_of_block_numbers_follow_the_blocks(tmp_path):
    moe(tmp_path / "model", mlp_only_layers=[1])
    out = lm.merge_weights(passthrough(tmp_path / "model", (0, 2), (1, 4)), tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["mlp_only_layers"] == [1, 2]
    _, account = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not account["missing_keys"]


def test_a_rule_that_cannot_be_written_for_each_block_is_refused(tmp_path):
    moe(tmp_path / "model", decoder_sparse_step=2)
    with pytest.raises(ValueError, match="decoder_sparse_step=2 gives blocks their kind"):
        lm.merge_weights(passthrough(tmp_path / "model", (0, 2), (1, 4)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_language_models_stack_counts_not_a_larger_tower():
    tower = [f"vision.layers.{n}.{part}.weight" for n in range(6) for part in "abcd"]
    text = [f"model.language.layers.{n}.{part}.weight" for n in range(3) for part in "ab"]
    embedding = "model.language.embed_tokens.weight"
    names = [*tower, *text, embedding]
    assert find_blocks(names, 3, embedding).prefix == "model.language.layers."
    same_number = [*(name for name in tower if ".layers.3" > name[6:15]), *text, embedding]
    assert find_blocks(same_number, None, embedding).n_blocks == 3
