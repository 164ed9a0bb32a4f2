"""Tensors of the same shapes that mean something else are told apart: settings, labels, vocabularies."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families import random_lm, random_model
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.testing import assert_close
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

import lm_merge as lm
from lm_merge.models import check_pair

OTHER = {
    "rope": {"rope_parameters": {"rope_theta": 2e7, "rope_type": "default"}},
    "norm_eps": {"rms_norm_eps": 1e-2},
    "heads": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16},
    "activation": {"hidden_act": "gelu"},
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LM_MERGE_CACHE", str(tmp_path_factory.mktemp("cache")))


def two(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    random_model("qwen2", 1, head_dim=8).save_pretrained(tmp_path / "first")
    random_model("qwen2", 2, **{"head_dim": 8, **changes}).save_pretrained(tmp_path / "second")
    models_ = {"host": str(tmp_path / "first"), "donors": [str(tmp_path / "second")]}
    return {"space": "weights", "operator": "linear", "alpha": 0.5, **models_}


def held(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def card(folder: Path) -> str:
    return (folder / "README.md").read_text()


@pytest.mark.parametrize("difference", OTHER)
def test_settings_are_compared_as_for_latents(difference, tmp_path):
    recipe = two(tmp_path, **OTHER[difference])
    with pytest.raises(lm.IncompatibleModels, match=rf"accept=\['{difference}'\] allows it"):
        lm.merge_weights(recipe, tmp_path / "out")
    out = lm.merge_weights(recipe | {"accept": [difference]}, tmp_path / "out")
    assert "- accepted: " in card(out)
    other = {"head_dim": 8, **OTHER[difference]}
    pair = random_lm("qwen2", 1, head_dim=8), random_lm("qwen2", 2, **other)
    with pytest.raises(lm.IncompatibleModels, match=rf"accept=\['{difference}'\] allows it"):
        check_pair(*pair)


def test_an_entry_left_out_has_the_value_of_the_class(tmp_path):
    recipe = two(tmp_path)
    path = tmp_path / "second" / "config.json"
    content = json.loads(path.read_text())
    del content["hidden_act"], content["rms_norm_eps"]
    path.write_text(json.dumps(content))
    assert lm.merge_weights(recipe, tmp_path / "out").is_dir()


def classifiers(tmp_path: Path, ours: list[str], theirs: list[str]) -> dict[str, Any]:
    for name, seed, labels in (("first", 1, ours), ("second", 2, theirs)):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=97,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
        )
        BertForSequenceClassification(config).save_pretrained(tmp_path / name)
    models_ = {"host": str(tmp_path / "first"), "donors": [str(tmp_path / "second")]}
    return {"space": "weights", "operator": "linear", "alpha": 0.5, **models_}


def test_rows_of_a_classifier_are_merged_by_label(tmp_path):
    recipe = classifiers(tmp_path, ["no", "maybe", "yes"], ["yes", "no", "maybe"])
    out = lm.merge_weights(recipe, tmp_path / "out")
    first, second, merged = (
        held(tmp_path / n)["classifier.weight"] for n in ("first", "second", "out")
    )
    assert_close(merged, (first + second[[1, 2, 0]]) / 2)
    assert "rows of its labels are put in the order" in card(out)


def test_other_labels_are_refused(tmp_path):
    recipe = classifiers(tmp_path, ["no", "yes"], ["spam", "ham"])
    with pytest.raises(lm.IncompatibleModels, match=r"labels \(id2label\): host \['no', 'yes'\]"):
        lm.merge_weights(recipe, tmp_path / "out")


WORDS = [f"t{number}" for number in range(90)]


def fast(words: list[str], added: dict[str, int] | None = None) -> PreTrainedTokenizerFast:
    vocab = {word: number for number, word in enumerate(words)}
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocab, unk_token="t0")), unk_token="t0"
    )
    made.add_tokens(list(added or ()))
    return made


def as_vocab_txt(folder: Path, words: list[str]) -> None:
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')


def test_one_vocabulary_in_two_formats_fits_and_another_does_not(tmp_path):
    recipe = classifiers(tmp_path, ["no", "yes"], ["no", "yes"])
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS[5:]]
    vocab = {word: number for number, word in enumerate(words)}
    wordpiece = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=wordpiece).save_pretrained(tmp_path / "first")
    as_vocab_txt(tmp_path / "second", words)
    assert lm.merge_weights(recipe, tmp_path / "same").is_dir()
    as_vocab_txt(tmp_path / "second", words[:5] + words[:4:-1])
    with pytest.raises(ValueError, match="differ in .* tokens, for example"):
        lm.merge_weights(recipe, tmp_path / "other")


def test_added_tokens_are_merged_where_both_have_them(tmp_path):
    recipe = two(tmp_path)
    fast(WORDS, {"<a>": 90, "<b>": 91}).save_pretrained(tmp_path / "first")
    fast(WORDS, {"<b>": 90}).save_pretrained(tmp_path / "second")
    with pytest.raises(ValueError, match="or accept special_tokens"):
        lm.merge_weights(recipe, tmp_path / "out")
    lm.merge_weights(recipe | {"accept": ["special_tokens"]}, tmp_path / "out")
    name = "model.embed_tokens.weight"
    first, second, merged = (held(tmp_path / n)[name] for n in ("first", "second", "out"))
    assert_close(merged[91], (first[91] + second[90]) / 2)
    assert torch.equal(merged[90], first[90])


def test_a_folder_without_a_tokenizer_is_noted(tmp_path):
    recipe = two(tmp_path)
    fast(WORDS).save_pretrained(tmp_path / "first")
    assert "second has no tokenizer files; ids are taken" in card(
        lm.merge_weights(recipe, tmp_path / "o")
    )


def test_a_vocabulary_of_another_order_is_not_the_same(tmp_path):
    recipe = two(tmp_path)
    fast(WORDS).save_pretrained(tmp_path / "first")
    fast(WORDS[::-1]).save_pretrained(tmp_path / "second")
    with pytest.raises(ValueError, match="differ in 90 tokens"):
        lm.merge_weights(recipe, tmp_path / "out")


def pairs_of(merges: list[tuple[str, str]]) -> PreTrainedTokenizerFast:
    """A tokenizer of the same five tokens whose merges decide how "abc" is split."""
    vocab = {word: number for number, word in enumerate(["a", "b", "c", "ab", "bc"])}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab, merges)))


def test_other_merges_of_the_same_tokens_are_noted(tmp_path):
    recipe = two(tmp_path)
    ours, theirs = pairs_of([("a", "b"), ("b", "c")]), pairs_of([("b", "c"), ("a", "b")])
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.tokenize("abc") != theirs.tokenize("abc")
    note = "splits text in another way (merges)"
    for second, expected in ((theirs, True), (ours, False)):
        ours.save_pretrained(tmp_path / "first")
        second.save_pretrained(tmp_path / "second")
        assert (note in card(lm.merge_weights(recipe, tmp_path / "o", overwrite=True))) == expected
    pair = random_lm("qwen2", 1), random_lm("qwen2", 2)
    pair[0].tokenizer, pair[1].tokenizer = ours, theirs
    with pytest.warns(lm.PairNotice, match="splits text in another way"):
        assert any(note in one for one in check_pair(*pair))


@pytest.mark.slow
@pytest.mark.parametrize("operator", ["fisher", "regmean"])
def test_statistics_of_a_classifier_are_of_its_own_head(operator, tmp_path):
    recipe = classifiers(tmp_path, ["no", "yes"], ["no", "yes"])
    words = Tokenizer(models.WordLevel({f"t{n}": n for n in range(97)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    for name in ("first", "second"):
        PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(tmp_path / name)
    recipe |= {"operator": operator, "alpha": None, "data": ["t5 t6 t7", "t8 t9 t10 t11"]}
    merges = [held(lm.merge_weights(recipe, tmp_path / f"out{number}")) for number in range(2)]
    head = "classifier.weight"
    assert all(torch.equal(merges[0][name], merges[1][name]) for name in merges[0])
    first, second = (held(tmp_path / name)[head] for name in ("first", "second"))
    assert not torch.allclose(
        merges[0][head], (first + second) / 2
    )  # not the mean without statistics
    assert f"{head}: no" not in card(tmp_path / "out0")
