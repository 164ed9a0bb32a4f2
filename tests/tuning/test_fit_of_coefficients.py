"""Fitted coefficients: gradients equal those through dense weights, and each objective does its own."""

import math
import warnings

import pytest
import torch
from peft_adapters import save_adapter, tiny_llama
from torch.testing import assert_close
from transformers import PreTrainedTokenizerFast

import lm_merge as lm
from lm_merge.coefficients.coefficient_file import CoefficientFile
from lm_merge.spaces.adapters import AdapterMerge
from lm_merge.tuning.fit import CoefficientFit, CollapseWarning, fit_coefficients
from lm_merge.tuning.fit_groups import fit_groups, group_of_keys
from lm_merge.tuning.fit_texts import FitTask, expert_replies
from lm_merge.tuning.objectives import OBJECTIVES, Positions, entropy_nats
from lm_merge.tuning.sensitivity import sensitivities
from lm_merge.tuning.settings import FitSettings

TEXTS = (("1 2 3", "4 5"), ("6 7", "8"), ("9 1 1", "2 3 4"))


@pytest.fixture(scope="module")
def merge(tmp_path_factory):
    """Two random adapters of a model whose tokens are the numbers below 30."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    root = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("one", "two")):
        save_adapter(tiny_llama(), root / name, seed, r=4, lora_alpha=8)
    vocabulary = {str(number): number for number in range(30)} | {"<end>": 30, "<pad>": 31}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<end>", pad_token="<pad>"
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    host = lm.wrap(tiny_llama(), tokenizer)
    return AdapterMerge(host, [root / "one", root / "two"])


def tasks(*names):
    prompts, replies = zip(*TEXTS, strict=True)
    return [FitTask(name, name, prompts, replies) for name in names]


def fit_of(merge, **settings):
    groups = fit_groups(merge, settings.get("by", "task"))
    keys = group_of_keys(merge.updates.keys, groups)
    return CoefficientFit(merge, tasks("one", "two"), FitSettings(**settings), keys, len(groups))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("by", ["task", "block", ("mlp",)])
def test_gradients_equal_those_through_a_dense_weight(merge, objective, by):
    fit = fit_of(merge, objective=objective, by=by)
    task = fit.tasks[0]
    fit.loss(task, 0, fit.free).backward()
    matrix = fit.free.detach().clone().requires_grad_()
    native, batch = merge.host.native, fit.batches[task.name][0]

    def logits(matrix):
        weights = {}
        for key, group in fit.group_of.items():
            updates = [one.dense() for one in merge.updates.updates(key)]
            total = sum(c * one for c, one in zip(matrix[group], updates, strict=True))
            weights[f"{key}.weight"] = native.get_submodule(key).weight + total
        inputs = {"input_ids": batch.texts.tokens, "attention_mask": batch.texts.attention_mask}
        return torch.func.functional_call(native, weights, (), inputs).logits[batch.at]

    expert = logits(torch.tensor([1.0, 0.0]).expand(matrix.shape)).detach()
    targets = batch.texts.tokens.roll(-1, dims=1)[batch.at]
    found = Positions(logits(matrix), expert, targets, batch.weights)
    OBJECTIVES[objective].loss(found).backward()
    assert_close(fit.free.grad, matrix.grad, rtol=1e-5, atol=1e-5)
    assert matrix.grad.abs().max() > 1e-3


def test_distillation_of_one_task_finds_its_adapter(merge):
    settings = FitSettings(steps=40, learning_rate=0.1, by="block")
    gradients = [one.requires_grad for one in merge.host.native.parameters()]
    fitted = fit_coefficients(merge, tasks("one"), settings)
    for row in fitted.values:
        assert row == pytest.approx((1.0, 0.0), abs=0.05)
    assert [one.name for one in fitted.groups] == ["block 0", "block 1", "default"]
    assert fitted.losses[-1] < fitted.losses[0] / 20
    assert [one.requires_grad for one in merge.host.native.parameters()] == gradients
    key = "model.layers.1.mlp.down_proj"
    assert merge.coefficients[key] == pytest.approx(fitted.values[1])


def test_a_consensus_of_trimmed_updates_is_fitted_module_by_module(merge):
    consensus = AdapterMerge(
        merge.host, merge.adapters, transforms=[{"trim": {"density": 0.5}}, "elect"]
    )
    key = consensus.updates.keys[0]
    one, other = consensus.updates.matrices(key)
    assert (one * other >= 0).all()
    assert 0 < (one != 0).float().mean() < 0.5
    consensus.coefficients = (0.7, 0.2)
    tokens = torch.tensor([[1, 2, 3]])
    wanted = consensus(tokens)
    row = torch.tensor([0.7, 0.2], requires_grad=True)
    with consensus.coefficient_tensors(dict.fromkeys(consensus.coefficients, row)):
        found = consensus(tokens)
        found.square().sum().backward()
    assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    up, down = (_squares(consensus, (0.7 + step, 0.2), tokens) for step in (1e-2, -1e-2))
    assert float(row.grad[0]) == pytest.approx((up - down) / 2e-2, rel=0.02)
    fitted = fit_coefficients(
        consensus, tasks("one", "two"), FitSettings(steps=20, learning_rate=0.05)
    )
    assert fitted.losses[-1] < fitted.losses[0]


def _squares(merge, row, tokens):
    merge.coefficients = row
    return float(merge(tokens).square().sum().detach())


def test_an_expert_is_the_adapter_before_any_transform(merge):
    trimmed = AdapterMerge(
        merge.host, merge.adapters, transforms=[{"trim": {"density": 0.1}}, "elect"]
    )
    plain, changed = (fit_of(one)._expert(tasks("one")[0], 0) for one in (merge, trimmed))
    assert changed.equal(plain)


def test_the_file_of_a_fit_gives_its_coefficients_again(merge, tmp_path):
    settings = FitSettings(steps=2, objective="supervised", by=("mlp",), bound="sigmoid", seed=5)
    fitted = fit_coefficients(merge, tasks("one", "two"), settings)
    path = fitted.file({"one": "a", "two": None}).save(tmp_path / "coefficients.json")
    rows = dict(merge.coefficients)
    merge.coefficients = CoefficientFile.load(path).rules(["one", "two"])
    assert dict(merge.coefficients) == rows
    assert (CoefficientFile.load(path).objective, CoefficientFile.load(path).seed) == (
        "supervised",
        5,
    )
    assert fitted.peak_bytes > 1e6


def test_a_fit_that_ends_at_the_base_warns(merge):
    settings = FitSettings(steps=1, start=0.04)
    with pytest.warns(CollapseWarning, match="distil"):
        fit_coefficients(merge, tasks("one"), settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_coefficients(merge, tasks("one"), FitSettings(steps=1))


def test_entropies_by_hand():
    even, sure = torch.zeros(1, 4), torch.tensor([[100.0, 0.0, 0.0, 0.0]])
    assert_close(entropy_nats(torch.cat([even, sure])), torch.tensor([math.log(4), 0.0]))
    half = torch.tensor([0.5, 0.5])
    apart = torch.tensor([[100.0, 0.0], [0.0, 100.0]])  # sure, and different: ln 2 apart
    at = Positions(apart, None, torch.tensor([0, 1]), half)
    assert_close(OBJECTIVES["infomax"].loss(at), torch.tensor(-math.log(2)))
    assert_close(OBJECTIVES["supervised"].loss(at), torch.tensor(0.0))


@pytest.mark.parametrize(
    ("operator", "settings", "said"),
    [
        ("ties", {}, "not a sum of updates"),
        ("slerp", {}, "not a sum of updates"),
        ("linear", {"by": ("attention",)}, "no module is left for 'attention'"),
    ],
)
def test_what_cannot_be_fitted_is_refused(merge, operator, settings, said):
    other = AdapterMerge(merge.host, merge.adapters, operator=operator)
    with pytest.raises(ValueError, match=said):
        fit_coefficients(other, tasks("one"), FitSettings(steps=1, **settings))


def test_sensitivities_are_the_slopes_of_recovery(merge):
    merge.coefficients = (0.4, 0.3)
    prompts = tuple(prompt for prompt, _ in TEXTS)
    replies = expert_replies(merge, "one", prompts, max_new_tokens=3, batch_size=3)
    likely = [FitTask("one", "one", prompts, replies)]
    (found,) = sensitivities(merge, likely, batch_size=2)
    assert found.groups == ("block 0", "block 1")
    step, rows = 1e-3, dict(merge.coefficients)
    merge.coefficients = {
        key: (one + step * (".1." in key), other) for key, (one, other) in rows.items()
    }
    (after,) = sensitivities(merge, likely, batch_size=2)
    slope = (after.recovery - found.recovery) / step
    assert found.values[1, 0] == pytest.approx(slope, rel=0.02, abs=1e-3)
