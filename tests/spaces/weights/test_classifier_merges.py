"""Classifiers from end to end: load, merge by every method with weights, vote, at tiny size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)
from xlm_roberta import LABELS, TEXTS, write_classifiers

import lm_merge as lm
from lm_merge.coefficients.selection import select_by_hand
from lm_merge.evaluation.selected_sources import combined, merge_recipe
from lm_merge.models.classifier import Classifier, wrap_classifier
from lm_merge.operators.data_based import fisher_mean, gram_mean
from lm_merge.operators.weight_methods import WEIGHT_METHODS
from lm_merge.spaces.merged_classifier import merged_classifier
from lm_merge.spaces.weights import merge_in_memory
from lm_merge.spaces.weights.statistics import fishers
from lm_merge.zoo.ngram_classifier import NgramConfig, NgramForSequenceClassification, NgramModel

WEIGHTS = (0.5, 0.3, 0.2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[list[Path], Path]:
    return write_classifiers(tmp_path_factory.mktemp("classifiers"))


def recipe(folders, operator: str, **others) -> dict:
    sources, base = folders
    needed = WEIGHT_METHODS[operator].base == "needed"
    return {
        "space": "weights",
        "operator": operator,
        "host": str(sources[0]),
        "donors": [str(one) for one in sources[1:]],
        "alpha": 1 - WEIGHTS[0],
        "donor_weights": WEIGHTS[1:],
        "base": str(base) if needed else None,
        **({"data": TEXTS} if WEIGHT_METHODS[operator].statistics else {}),
        **others,
    }


def test_logits_do_not_depend_on_the_batch(folders):
    model = lm.load_classifier(folders[0][0])
    assert model.labels == LABELS
    alone = torch.cat([model.logits([text]) for text in TEXTS])
    torch.testing.assert_close(model.logits(TEXTS, batch_size=3), alone)
    assert model.predict(TEXTS) == [LABELS[place] for place in alone.argmax(-1).tolist()]
    by_hand = model.model.roberta(torch.tensor([[8, 9, 10]])).last_hidden_state.mean(dim=1)
    torch.testing.assert_close(model.embeddings(TEXTS)[1:2], by_hand.detach())


def test_a_text_that_is_too_long_is_refused_and_can_be_cut(folders):
    model = lm.load_classifier(folders[0][0])
    long = "me " * 30
    with pytest.raises(ValueError, match="text 1 has 30 tokens and model 'source0' takes 18"):
        model.logits(["play", long])
    assert model.logits(["play", long], max_length=18).shape == (2, 3)


def test_a_missing_head_is_refused(folders):
    with pytest.raises(ValueError, match=r"lacks .* would be random: classifier\.dense"):
        lm.load_classifier(folders[1])


OTHERS = sorted(set(WEIGHT_METHODS) - {"passthrough", "nuslerp", "model_stock"})
FAST = ("linear", "slerp", "ties", "fisher", "regmean")  # one of each kind
METHODS = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in OTHERS]


@pytest.mark.parametrize("operator", METHODS)
def test_every_method_merges_classifiers_with_weights(folders, operator):
    density = {"density": 0.6} if "density" in WEIGHT_METHODS[operator].parameters else {}
    tensors, settings, notes = merge_in_memory(recipe(folders, operator, operator_args=density))
    model = XLMRobertaForSequenceClassification(XLMRobertaConfig(**settings))
    model.load_state_dict(tensors)
    merged = wrap_classifier(model, lm.load_classifier(folders[0][0]).tokenizer, "merged")
    assert merged.labels == LABELS
    assert merged.logits(TEXTS).isfinite().all()
    assert any("rows of its labels are put in the order of" in note for note in notes)
    if WEIGHT_METHODS[operator].base == "needed":
        assert any("has no classifier.dense.bias" in note for note in notes)
        heads = [
            load_file(one / "model.safetensors")["classifier.out_proj.weight"] for one in folders[0]
        ]
        heads[2] = heads[2].flip(0)
        mean = sum(w * head for w, head in zip(WEIGHTS, heads, strict=True))
        torch.testing.assert_close(tensors["classifier.out_proj.weight"], mean)


def test_task_arithmetic_starts_from_the_base_without_a_head(folders):
    name = "encoder.layer.1.output.dense.weight"
    tensors, *_ = merge_in_memory(recipe(folders, "task_arithmetic", operator_args={"lambda": 0.5}))
    base = load_file(folders[1] / "model.safetensors")[name]
    own = [load_file(one / "model.safetensors")[f"roberta.{name}"] for one in folders[0]]
    moved = sum(w * (one - base) for w, one in zip(WEIGHTS, own, strict=True))
    torch.testing.assert_close(tensors[f"roberta.{name}"], base + 0.5 * moved)


def test_memory_and_folder_hold_the_same(folders, tmp_path):
    wanted = recipe(folders, "ties", operator_args={"density": 0.5})
    tensors, *_ = merge_in_memory(wanted)
    out = lm.merge_weights(wanted, tmp_path / "merged")
    written = load_file(out / "model.safetensors")
    assert set(written) == set(tensors)
    assert all(torch.equal(written[name], tensors[name]) for name in tensors)
    assert lm.load_classifier(out).labels == LABELS


def test_weights_of_fisher_and_regmean():
    states = torch.randn(3, 4, 5, dtype=torch.float64)
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    mean = (weights.view(-1, 1, 1) * states).sum(0)
    torch.testing.assert_close(fisher_mean(states, torch.full_like(states, 0.7), weights), mean)
    gram = torch.randn(5, 9, dtype=torch.float64)
    grams = (gram @ gram.T).expand(3, -1, -1)
    torch.testing.assert_close(gram_mean(states, grams, weights), mean)
    one = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(fisher_mean(states, torch.rand_like(states), one), states[1])


def ngrams(number: int, labels=LABELS):
    torch.manual_seed(number)
    model = NgramForSequenceClassification(NgramConfig(101, 8, 8, id2label=dict(enumerate(labels))))
    return wrap_classifier(model, None, f"m{number}")


def test_votes_match_labels_by_name():
    models = [ngrams(0), ngrams(1), ngrams(2, LABELS[::-1])]
    for method in ("soft", "mean", "weighted_majority"):
        first = lm.LabelVotes(models, weights=[1.0, 0.0, 0.0], method=method)
        assert first.predict(TEXTS) == models[0].predict(TEXTS)
        last = lm.LabelVotes(models, weights=[0.0, 0.0, 1.0], method=method)
        assert last.predict(TEXTS) == models[2].predict(TEXTS)
    mean = lm.LabelVotes(models, WEIGHTS, "mean").logits(TEXTS)
    logits = [one.logits(TEXTS) for one in models]
    by_hand = 0.5 * logits[0] + 0.3 * logits[1] + 0.2 * logits[2].flip(1)
    torch.testing.assert_close(mean, by_hand)
    with pytest.raises(ValueError, match=r"only 'm3' has \['other'\]"):
        lm.LabelVotes([models[0], ngrams(3, (*LABELS[:2], "other"))])


def test_a_failing_model_stops_the_vote_with_its_name():
    models = [ngrams(0), ngrams(1)]
    with torch.no_grad():
        models[1].model.classifier.weight[0, 0] = np.nan
    with pytest.raises(RuntimeError, match="classifier 'm1' failed: .* not finite"):
        lm.LabelVotes(models).predict(TEXTS)


def test_ngram_models_are_saved_loaded_and_merged(tmp_path):
    torch.manual_seed(0)
    NgramModel(NgramConfig(101, 8, 8)).save_pretrained(tmp_path / "base")
    for number in range(2):
        ngrams(number).model.save_pretrained(tmp_path / f"m{number}")
    merge = {
        "space": "weights",
        "operator": "task_arithmetic",
        "host": str(tmp_path / "m0"),
        "donors": [str(tmp_path / "m1")],
        "base": str(tmp_path / "base"),
        "alpha": 0.25,
    }
    out = lm.merge_weights(merge, tmp_path / "merged")
    first, second = (load_file(tmp_path / f"m{number}" / "model.safetensors") for number in (0, 1))
    merged = load_file(out / "model.safetensors")
    for name in first:
        torch.testing.assert_close(merged[name], 0.75 * first[name] + 0.25 * second[name])
    again = lm.load_classifier(tmp_path / "m0")
    assert torch.equal(again.logits(TEXTS), ngrams(0).logits(TEXTS))
    padded = torch.tensor([[5, 6, 0, 0], [7, 8, 9, 0]])
    in_a_row = again.model(torch.tensor([5, 6, 7, 8, 9]), torch.tensor([0, 2])).logits
    torch.testing.assert_close(again.model(padded).logits, in_a_row)


@pytest.mark.parametrize("operator", ["fisher", "regmean"])
def test_models_that_encode_texts_themselves_are_merged_by_data(operator, tmp_path):
    models = [ngrams(number).model for number in range(2)]
    for number, model in enumerate(models):
        model.save_pretrained(tmp_path / f"m{number}")
    merge = {"space": "weights", "operator": operator, "host": str(tmp_path / "m0"), "alpha": 0.25}
    merge |= {"donors": [str(tmp_path / "m1")], "data": ("wake me",)}
    tensors, _, _ = merge_in_memory(merge)
    weights = torch.tensor([0.75, 0.25])
    given = models[0].encode_texts(("wake me",))
    if operator == "fisher":
        name, found = "classifier.bias", []
        for model in models:  # d log p_y / d bias = onehot_y - p
            p = model(**given).logits[0].softmax(-1).detach()
            found.append((p[:, None] * (torch.eye(len(p)) - p).square()).sum(0))
        expected = fisher_mean(
            torch.stack([model.state_dict()[name] for model in models]), torch.stack(found), weights
        )
    else:
        name = "classifier.weight"
        hidden = [model.encoder(**given).detach() for model in models]
        expected = gram_mean(
            torch.stack([model.state_dict()[name] for model in models]).double(),
            torch.stack([one.T @ one for one in hidden]).double(),
            weights.double(),
        ).float()
    torch.testing.assert_close(tensors[name], expected, rtol=1e-4, atol=1e-5)


def test_fisher_information_is_brought_to_one_norm_and_has_a_floor(tmp_path):
    models = {f"m{number}": str(tmp_path / f"m{number}") for number in range(2)}
    made = [ngrams(number).model for number in range(2)]
    made[1].classifier.weight.data *= 10  # surer of its labels: smaller gradients
    for model, folder in zip(made, models.values(), strict=True):
        model.save_pretrained(folder)
    given = merge_recipe(select_by_hand("t", {"m0": 3.0, "m1": 1.0}), models, "fisher")
    tensors, _, _ = merge_in_memory({**given, "data": ("wake me", "play music")})
    texts = [made[0].encode_texts((text,)) for text in ("wake me", "play music")]
    found = [fishers(model, texts) for model in made]
    norms = [torch.cat([one.flatten() for one in each.values()]).norm() for each in found]
    for name, merged in tensors.items():
        shares = [
            weight / norm * (each[name] + 1e-6)
            for weight, norm, each in zip((0.75, 0.25), norms, found, strict=True)
        ]
        states = [model.state_dict()[name] for model in made]
        expected = (shares[0] * states[0] + shares[1] * states[1]) / (shares[0] + shares[1])
        torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-6)
    assert norms[0] > 2 * norms[1]
    given["operator_args"] = {"equal_norms": False}
    without, _, _ = merge_in_memory({**given, "data": ("wake me", "play music")})
    name = "encoder.embed.weight"
    assert not torch.allclose(without[name], tensors[name])


@pytest.mark.parametrize("method", ["linear", "soft"])
def test_a_dtype_is_that_of_merges_votes_and_single_sources(method, folders):
    models = {f"m{number}": str(folder) for number, folder in enumerate(folders[0])}
    for names in (list(models), ["m0"]):
        selection = select_by_hand("t", dict.fromkeys(names, 1.0))
        model, _ = combined(selection, models, method, dtype="bfloat16")
        parts = [model] if isinstance(model, Classifier) else model.classifiers
        assert {part.model.dtype for part in parts} == {torch.bfloat16}


def test_without_any_fisher_information_there_is_no_norm(tmp_path):
    models = {f"m{number}": str(tmp_path / f"m{number}") for number in range(2)}
    for number, folder in enumerate(models.values()):
        ngrams(number, ("only",)).model.save_pretrained(folder)  # one label: its gradient is 0
    given = merge_recipe(select_by_hand("t", dict.fromkeys(models, 1.0)), models, "fisher")
    with pytest.raises(ValueError, match="m0': its Fisher information is 0 on these prompts"):
        merge_in_memory({**given, "data": ("wake me",)})


def test_compose_gives_what_answers_for_classifiers_and_encoders(folders):
    given = recipe(folders, "linear")
    merged = lm.compose(given, task="classification")
    assert isinstance(merged, Classifier)
    expected, _ = merged_classifier(given)
    assert torch.equal(merged.logits(TEXTS), expected.logits(TEXTS))
    body = lm.compose(given, task="encoding")
    assert torch.equal(body.embeddings(TEXTS), expected.embeddings(TEXTS))
    votes = lm.compose({**given, "space": "logits", "operator": "soft"}, task="classification")
    assert isinstance(votes, lm.LabelVotes)
    assert votes.weights == pytest.approx(WEIGHTS)


def test_where_a_task_makes_no_sense_it_is_refused(folders):
    given = recipe(folders, "linear")
    sources, _ = folders
    named = {**given, "host": {"model": str(sources[0]), "task": "classification"}}
    with pytest.raises(ValueError, match="give lm.compose the argument task='classification'"):
        lm.compose(named)
    latents = {"host": str(sources[0]), "donors": [str(sources[1])], "layers": {0: 0.5}}
    with pytest.raises(ValueError, match="space='latents' and task='encoding'"):
        lm.compose(latents, task="encoding")
    votes = {**given, "space": "logits", "operator": "soft"}
    with pytest.raises(ValueError, match="gives no labels to vote"):
        lm.compose(votes, task="encoding")
    _, base = folders
    headless = {"space": "weights", "host": str(base), "donors": [str(base)], "alpha": 0.5}
    headless |= {"operator": "linear"}
    with pytest.raises(ValueError, match="is no classifier: its class is XLMRobertaModel"):
        lm.compose(headless, task="classification")
    assert lm.compose(headless, task="encoding").embeddings(TEXTS).shape == (len(TEXTS), 16)
