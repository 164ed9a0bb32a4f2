"""A small classifier of texts in any script: hashed character n-grams and a multilayer perceptron.

`NgramModel` is the encoder, `NgramForSequenceClassification` the encoder with a head of labels. Both are
saved, loaded and merged as any model of transformers, whose Auto classes know them once `register` was
called.
"""

import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

N_MAX = 4  # characters of the longest n-gram
PAD = 0
_FACTOR, _MIX = np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)
KEPT_TEXTS = 64  # lists of texts whose n-grams are remembered


class NgramConfig(PreTrainedConfig):
    """Sizes: vocab_size hashed n-grams (0 is padding), width of their vectors, hidden units."""

    model_type = "lm_merge_ngram"

    def __init__(
        self, vocab_size: int = 65_536, width: int = 64, hidden: int = 128, **others: Any
    ) -> None:
        sizes = {"vocab_size": vocab_size, "width": width, "hidden": hidden}
        super().__init__(**{"pad_token_id": PAD, "num_hidden_layers": 0, **others, **sizes})


class NgramPreTrained(PreTrainedModel):
    """What both classes share."""

    config_class = NgramConfig
    base_model_prefix = "encoder"

    def encode_texts(self, texts: tuple[str, ...]) -> dict[str, Tensor]:
        """Arguments of the forward pass for some texts: this model has no tokenizer."""
        ids, offsets = ngram_ids(texts, int(self.config.vocab_size))
        return {"input_ids": ids.to(self.device), "offsets": offsets.to(self.device)}

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.EmbeddingBag):
            nn.init.normal_(module.weight, std=0.1)
            with torch.no_grad():
                module.weight[PAD] = 0.0
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


class NgramModel(NgramPreTrained):
    """Encoder: the mean of the n-grams' vectors, normalised, through one hidden layer."""

    def __init__(self, config: NgramConfig) -> None:
        super().__init__(config)
        self.embed = nn.EmbeddingBag(config.vocab_size, config.width, mode="mean", padding_idx=PAD)
        self.norm = nn.LayerNorm(config.width)
        self.dense = nn.Linear(config.width, config.hidden)
        self.post_init()

    def forward(
        self, input_ids: Int[Tensor, "..."], offsets: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch hidden"]:
        """Vectors of texts: ids padded with 0, or all ids in one row with each text's first place."""
        return self.of_means(self.embed(input_ids, offsets))

    def of_means(self, means: Float[Tensor, "batch width"]) -> Float[Tensor, "batch hidden"]:
        """Vectors of texts from the means of their n-grams' vectors."""
        return nn.functional.gelu(self.dense(self.norm(means)))


class NgramForSequenceClassification(NgramPreTrained):
    """The encoder with a linear head, one row a label."""

    def __init__(self, config: NgramConfig) -> None:
        super().__init__(config)
        self.encoder = NgramModel(config)
        self.classifier = nn.Linear(config.hidden, len(config.id2label or {}))
        self.post_init()

    def forward(
        self,
        input_ids: Int[Tensor, "..."],
        offsets: Int[Tensor, " batch"] | None = None,
        labels: Int[Tensor, " batch"] | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Logits of the labels, and the cross-entropy where labels are given."""
        logits = self.classifier(self.encoder(input_ids, offsets))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)  # pyright: ignore[reportArgumentType]


@lru_cache(maxsize=KEPT_TEXTS)
def ngram_ids(texts: tuple[str, ...], vocab_size: int) -> tuple[Tensor, Tensor]:
    """Hashed n-grams of 1 to 4 characters of every text in one row, and the first place of each text.

    Texts are lowercased (NFKC) and framed by spaces. Ids are 1 .. vocab_size - 1.
    """
    framed = [f" {unicodedata.normalize('NFKC', text).lower()} " for text in texts]
    characters = np.frombuffer("".join(framed).encode("utf-32-le"), dtype=np.uint32)
    ends = np.cumsum([len(text) for text in framed])
    starts = ends - np.array([len(text) for text in framed])
    text_of = np.repeat(np.arange(len(framed)), ends - starts)
    room = ends[text_of] - np.arange(len(characters))  # characters from here to the text's end
    ids, owners = [], []
    for n in range(1, N_MAX + 1):
        whole = np.flatnonzero(room >= n)
        ids.append(_hashes(characters, whole, n, vocab_size))
        owners.append(text_of[whole])
    order = np.argsort(np.concatenate(owners), kind="stable")
    counts = np.bincount(np.concatenate(owners), minlength=len(framed))
    offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return torch.from_numpy(np.concatenate(ids)[order]), torch.from_numpy(offsets)


def _hashes(characters: ndarray, places: ndarray, n: int, vocab_size: int) -> ndarray:
    found = np.full(len(places), n, dtype=np.uint64)
    for step in range(n):
        found = (found ^ characters[places + step].astype(np.uint64)) * _FACTOR
    found = (found ^ (found >> np.uint64(29))) * _MIX
    return (1 + (found >> np.uint64(32)) % np.uint64(vocab_size - 1)).astype(np.int32)


def register() -> None:
    """Make the classes known to transformers' Auto classes; once is enough."""
    AutoConfig.register(NgramConfig.model_type, NgramConfig, exist_ok=True)
    AutoModel.register(NgramConfig, NgramModel, exist_ok=True)
    AutoModelForSequenceClassification.register(
        NgramConfig, NgramForSequenceClassification, exist_ok=True
    )
