"""regmean and fisher: merging by what given prompts say of the parameters."""

from typing import Any

import pytest
import torch
from families import D_VOCAB, random_model, random_tokens
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

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


@pytest.mark.slow
def test_what_no_statistic_says_is_the_mean(tmp_path):
    out = lm.merge_weights(RECIPE | {"operator": "regmean"}, tmp_path / "out", prompts=PROMPTS)
    first, second = (load_file(BUNDLED[name].path / "model.safetensors") for name in NAMES)
    merged = load_file(out / "model.safetensors")
    name = "model.embed_tokens.weight"
    assert_close(merged[name], (first[name].float() + second[name].float()) / 2)
    card = (out / "README.md").read_text()
    assert f"{name}: no gram statistic, so the mean" in card
    assert "3 prompts" in card


@pytest.mark.slow
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


def words_tokenizer(n_words: int) -> PreTrainedTokenizerFast:
    """A tokenizer of words w3 .. for models whose vocabulary is small."""
    vocab = {"<unk>": 0} | {f"w{n}": n for n in range(1, n_words)}
    words = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")


def test_gpt2_stores_its_layers_the_other_way_round(tmp_path):
    for name, seed in (("first", 1), ("second", 2)):
        random_model("gpt2", seed).save_pretrained(tmp_path / name)
        words_tokenizer(D_VOCAB).save_pretrained(tmp_path / name)
    models = {"host": str(tmp_path / "first"), "donors": [str(tmp_path / "second")]}
    recipe = RECIPE | models | {"operator": "regmean", "operator_args": {"off_diagonal": 1.0}}
    ids = [random_tokens(1, 40, seed) for seed in range(3)]
    prompts = [" ".join(f"w{n}" for n in row[0].tolist()) for row in ids]
    out = lm.merge_weights(recipe, tmp_path / "out", prompts=prompts)
    name, seen, answers = "transformer.h.1.mlp.c_fc", [], []
    for seed in (1, 2):
        layer: Any = random_model("gpt2", seed).get_submodule(name)  # [d_in, d_out]
        native, rows = random_model("gpt2", seed), []
        native.get_submodule(name).register_forward_hook(
            lambda _m, given, _o, rows=rows: rows.append(given[0][0].detach().double())
        )
        for one in ids:
            native(one)
        seen.append(torch.cat(rows))
        answers.append(seen[-1] @ layer.weight.detach().double())
    fit = torch.linalg.lstsq(torch.cat(seen), torch.cat(answers)).solution
    merged = load_file(out / "model.safetensors")[f"{name}.weight"]
    assert_close(merged.double(), fit, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_recipe_names_its_data_and_prompts_given_win(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS))
    recipe = RECIPE | {"operator": "regmean"}
    given = lm.merge_weights(recipe, tmp_path / "given", prompts=PROMPTS)
    expected = load_file(given / "model.safetensors")
    for data, prompts in ((str(path), None), (PROMPTS, None), (["sort 1"], PROMPTS)):
        out = lm.merge_weights(
            recipe | {"data": data}, tmp_path / "out", prompts=prompts, overwrite=True
        )
        merged = load_file(out / "model.safetensors")
        assert all(torch.equal(merged[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_compose_of_regmean_is_the_merge_of_the_recipes_data(tmp_path):
    recipe = lm.Recipe.load(RECIPE | {"operator": "regmean", "data": PROMPTS})
    host = {"model": NAMES[0], "dtype": "float32"}  # as compose: the dtype the host computes in
    out = lm.merge_weights(
        RECIPE | {"operator": "regmean", "host": host}, tmp_path / "out", prompts=PROMPTS
    )
    expected, composed = lm.load(out).native.state_dict(), lm.compose(recipe).native.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in composed.items())
