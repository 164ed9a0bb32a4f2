"""Tiny classifiers with the architecture of XLM-R, on disk, with a tokenizer of a few words."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
)

WORDS = ("<s>", "<pad>", "</s>", "<unk>", "wake", "me", "at", "nine", "play", "music", "now")
LABELS = ("alarm_set", "play_music", "weather_query")
TEXTS = ("wake me at nine", "play music now", "music", "wake me now at nine me")


def config(labels=LABELS) -> XLMRobertaConfig:
    return XLMRobertaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=20,
        pad_token_id=1,
        id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
    )


def save_tokenizer(folder: Path) -> None:
    words = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", model_max_length=18
    ).save_pretrained(folder)


def write_classifiers(root: Path) -> tuple[list[Path], Path]:
    """Three classifiers, the third with its labels in another order, and their base without a head."""
    torch.manual_seed(0)
    encoder = XLMRobertaModel(config())
    encoder.save_pretrained(root / "base")
    save_tokenizer(root / "base")
    for number, labels in enumerate((LABELS, LABELS, LABELS[::-1])):
        model = XLMRobertaForSequenceClassification(config(labels))
        state = {f"roberta.{name}": value for name, value in encoder.state_dict().items()}
        model.load_state_dict(state, strict=False)
        torch.manual_seed(number)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
        model.save_pretrained(root / f"source{number}")
        save_tokenizer(root / f"source{number}")
    return [root / f"source{number}" for number in range(3)], root / "base"
