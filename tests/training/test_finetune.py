"""Fine-tuning a tiny XLM-R on texts made here: resumed after a stop, short of memory or disk."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    TrainerCallback,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
)

import lm_merge as lm
from analyses.encoder_check import analysis as encoder_check
from analyses.encoder_check.config import EncoderCheckConfig
from lm_merge.evaluation.massive import LabelledTexts
from lm_merge.evaluation.sentence_similarity import read_pairs
from lm_merge.runs.record import start_run
from lm_merge.statistics.rank_correlation import spearman
from lm_merge.training.finetune import fine_tune
from lm_merge.training.memory import check_free_disk, with_smaller_batches
from lm_merge.training.settings import FinetuneSettings

WORDS = ("<s>", "<pad>", "</s>", "<unk>", "wake", "me", "at", "nine", "play", "music", "now")
LABELS = ("alarm_set", "play_music")
SETTINGS = FinetuneSettings(epochs=2.0, batch=4, learning_rate=5e-2, max_length=10)


def texts(n: int) -> LabelledTexts:
    pairs = [("wake me at nine", "alarm_set"), ("play music now", "play_music")] * (n // 2)
    return LabelledTexts("xx-XX", tuple(range(n)), *map(tuple, zip(*pairs, strict=True)))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=20,
        pad_token_id=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    words = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", model_max_length=18
    ).save_pretrained(folder)
    return folder


class Stop(TrainerCallback):
    """Ends the program, as far as the training knows, after the first epoch is saved."""

    def on_save(self, args, state, control, **_):
        raise KeyboardInterrupt


@pytest.mark.slow
def test_a_classifier_is_written_and_a_stopped_training_gives_the_same(base, tmp_path):
    whole, history, notes = fine_tune(
        str(base), texts(16), texts(8), LABELS, SETTINGS, tmp_path / "whole"
    )
    assert notes == ()
    assert [entry["epoch"] for entry in history if "eval_accuracy" in entry] == [1.0, 2.0]
    model = lm.load_classifier(whole)
    assert model.labels == LABELS
    assert model.predict(["wake me at nine", "play music now"]) == list(LABELS)
    arguments = (str(base), texts(16), texts(8), LABELS, SETTINGS, tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        fine_tune(*arguments, callbacks=[Stop()])
    assert not (tmp_path / "stopped").exists()
    stopped, *_ = fine_tune(*arguments)
    ours, theirs = (load_file(one / "model.safetensors") for one in (whole, stopped))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(FileExistsError, match="is there already"):
        fine_tune(*arguments)


def test_memory_that_runs_out_halves_the_batch():
    tried = []

    def train(batch: int, accumulation: int) -> int:
        tried.append((batch, accumulation))
        if batch > 8:
            raise torch.OutOfMemoryError("fake")
        return batch

    found, notes = with_smaller_batches(train, 32, 1)
    assert found == 8
    assert tried == [(32, 1), (16, 2), (8, 4)]
    assert notes[-1] == "out of memory: batch 8, accumulation 4 from here on"

    def never(batch: int, accumulation: int) -> int:
        raise torch.OutOfMemoryError("fake")

    with pytest.raises(torch.OutOfMemoryError):
        with_smaller_batches(never, 4, 1)


def test_too_little_disk_is_said_before_the_start(tmp_path):
    check_free_disk(tmp_path / "not" / "there", 1, "fine-tuning")
    with pytest.raises(OSError, match=r"fine-tuning needs 1000000.00 GB in .*, which has"):
        check_free_disk(tmp_path, 10**15, "fine-tuning")


def test_the_encoder_check_is_that_of_plain_transformers(base, tmp_path):
    pairs = [
        ("wake me", "wake at nine", 4.0),
        ("play music", "play now", 3.5),
        ("me", "music", 0.5),
    ]
    pairs += [
        ("nine", "wake me at nine", 2.0),
        ("music now", "music now", 5.0),
        ("at", "play", 0.1),
    ]
    path = tmp_path / "pairs.tsv"
    path.write_text("one\tother\tscore\n" + "".join(f"{a}\t{b}\t{s}\n" for a, b, s in pairs))
    torch.manual_seed(1)
    tuned = XLMRobertaForSequenceClassification.from_pretrained(base)  # a head is left out
    tuned.save_pretrained(tmp_path / "tuned")
    words = PreTrainedTokenizerFast.from_pretrained(base)
    words.save_pretrained(tmp_path / "tuned")
    config = EncoderCheckConfig(
        model=str(base), compare_with=(str(tmp_path / "tuned"),), pairs=path
    )
    with start_run("encoder_check", config, root=tmp_path) as record:
        found = encoder_check.run(config, record)["similarity"]
    plain = XLMRobertaModel.from_pretrained(base, add_pooling_layer=False).eval()

    def embedded(text: str) -> torch.Tensor:
        with torch.no_grad():
            ids = words(text, return_tensors="pt").input_ids
            return plain(ids).last_hidden_state.mean(dim=1)

    cosines = [float(torch.cosine_similarity(embedded(a), embedded(b))) for a, b, _ in pairs]
    by_hand = spearman(np.array(cosines), np.array([score for *_, score in pairs]))
    assert found.spearman.tolist() == pytest.approx([float(by_hand)] * 2, abs=1e-3)
    assert found.n.tolist() == [6, 6]
    (tmp_path / "two.tsv").write_text("a\tb\n")
    with pytest.raises(ValueError, match="has 2 fields a line"):
        read_pairs(tmp_path / "two.tsv")
