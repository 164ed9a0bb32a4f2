"""regmean and fisher: merging by what given prompts say of the parameters."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

import lm_merge as lm
from lm_merge.zoo.names import BUNDLED

PROMPTS = ["12+34 = ?", "What is the capital of Norway?", "sort 3 1 2"]
NAMES = ("tiny-instruct", "tiny-thinker")
RECIPE: dict[str, Any] = {"space": "weights", "host": NAMES[0], "donors": [NAMES[1]]}
LAYER = "model.layers.2.mlp.down_proj"


def natives() -> list[Any]:
    return [AutoModelForCausalLM.from_pretrained(BUNDLED[name].path).eval() for name in NAMES]


def all_tokens() -> list[torch.Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED[NAMES[0]].path)
    return [tokenizer(prompt, return_tensors="pt").input_ids for prompt in PROMPTS]


def test_regmean_is_least_squares_on_the_inputs_of_each_layer(tmp_path):
    recipe = RECIPE | {"operator": "regmean", "operator_args": {"off_diagonal": 1.0}}
    out = lm.merge_weights(recipe, tmp_path / "out", prompts=PROMPTS)
    merged = load_file(out / "model.safetensors")
    seen, answers, layers = [], [], []
    for native in natives():
        layer = native.get_submodule(LAYER)
        layer.register_forward_hook(
            lambda _m, given, _o: seen.append(given[0][0].detach().double())
        )
        start = len(seen)
        for ids in all_tokens():
            native(ids)
        layers.append(layer.weight.detach().double())
        answers += [rows @ layers[-1].T for rows in seen[start:]]

    def error(weight: torch.Tensor) -> float:
        return (torch.cat(seen) @ weight.double().T - torch.cat(answers)).square().sum().item()

    ours = error(merged[f"{LAYER}.weight"])
    assert ours < 0.8 * error(sum(layers) / 2)
    fit = torch.linalg.lstsq(torch.cat(seen), torch.cat(answers), driver="gelsd").solution.T
    assert ours == pytest.approx(error(fit), rel=0.05, abs=1e-3)


def test_what_no_statistic_says_is_the_mean(tmp_path):
    out = lm.merge_weights(RECIPE | {"operator": "regmean"}, tmp_path / "out", prompts=PROMPTS)
    first, second = (load_file(BUNDLED[name].path / "model.safetensors") for name in NAMES)
    merged = load_file(out / "model.safetensors")
    name = "model.embed_tokens.weight"
    assert_close(merged[name], (first[name].float() + second[name].float()) / 2)
    card = (out / "README.md").read_text()
    assert f"{name}: no gram statistic, so the mean" in card
    assert "3 prompts" in card


def test_fisher_weighs_by_squared_gradients(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n\n".join(PROMPTS))
    recipe = RECIPE | {"operator": "fisher"}
    merged = load_file(
        lm.merge_weights(recipe, tmp_path / "out", prompts=path) / "model.safetensors"
    )
    weights, squares = [], []
    for native in natives():
        weight = native.get_submodule(LAYER).weight
        total = torch.zeros_like(weight)
        for ids in all_tokens():
            loss = native(ids, labels=ids).loss * (ids.shape[1] - 1)
            total += torch.autograd.grad(loss, weight)[0].square()
        weights.append(weight.detach())
        squares.append(total)
    share = squares[0] / (squares[0] + squares[1])
    expected = share * weights[0] + (1 - share) * weights[1]
    assert_close(merged[f"{LAYER}.weight"], expected, rtol=1e-3, atol=1e-5)


def test_gpt2_stores_its_layers_the_other_way_round(tmp_path):
    from families import random_model

    for name, seed in (("first", 1), ("second", 1)):
        random_model("gpt2", seed).save_pretrained(tmp_path / name)
        tokenizer = AutoTokenizer.from_pretrained(BUNDLED[NAMES[0]].path)
        tokenizer.save_pretrained(tmp_path / name)
    recipe = RECIPE | {"host": str(tmp_path / "first"), "donors": [str(tmp_path / "second")]}
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("abc")
    if max(tokenizer("abc").input_ids) >= 97:
        pytest.skip("the bundled tokenizer gives ids beyond this model's vocabulary")
    out = lm.merge_weights(
        recipe | {"operator": "regmean"}, tmp_path / "out", prompts=Path(prompts)
    )
    merged, first = (load_file(f / "model.safetensors") for f in (out, tmp_path / "first"))
    for name, values in first.items():  # two equal models: themselves
        assert_close(merged[name], values, rtol=1e-4, atol=1e-5)
