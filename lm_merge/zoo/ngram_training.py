"""Training n-gram models: an encoder on parallel texts, and a classifier of one language on it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_merge.zoo.ngram_classifier import (
    NgramConfig,
    NgramForSequenceClassification,
    NgramModel,
    ngram_ids,
)
from lm_merge.zoo.ngram_optimizer import NgramOptimizer
from lm_merge.zoo.ngram_settings import PretrainingSettings, TuningSettings

SAVED_EVERY = 250  # steps between checkpoints of the pretraining


def pretrain(
    texts: Mapping[str, Sequence[str]],
    settings: PretrainingSettings,
    *,
    checkpoint: Path | None = None,
) -> NgramModel:
    """An encoder for which translations are near each other: InfoNCE over pairs of locales.

    texts: locale -> utterances, the same ones in the same order for every locale. Each pair of a batch
    has two locales of its own, which follow from the seed and the number of the step alone. checkpoint:
    a file that is replaced every 250 steps; where it is there, training goes on from it and ends with
    the same weights. Raises ValueError for fewer than two locales or lists that differ in length.
    """
    lengths = {len(own) for own in texts.values()}
    if len(texts) < 2 or len(lengths) != 1:
        raise ValueError(
            f"texts of {len(texts)} locales with {lengths} entries: give parallel ones"
        )
    n_texts = lengths.pop()
    torch.manual_seed(settings.seed)
    config = NgramConfig(settings.vocab_size, settings.width, settings.hidden)
    model = NgramModel(config).train()
    bags = _Bags([ngram_ids(tuple(own), settings.vocab_size) for own in texts.values()])
    optimizer = NgramOptimizer(model, model.embed.weight, settings)
    if checkpoint is not None and checkpoint.is_file():
        optimizer.load(checkpoint)
    for step in range(optimizer.n_steps, settings.steps):
        rng = np.random.default_rng([settings.seed, step])
        chosen = rng.choice(n_texts, min(settings.batch, n_texts), replace=False)
        first = rng.integers(len(texts), size=len(chosen))
        second = (first + rng.integers(1, len(texts), size=len(chosen))) % len(texts)
        means = optimizer.means(*bags.batch(np.append(first, second), np.append(chosen, chosen)))
        one, other = model.of_means(means).chunk(2)
        loss = contrastive_loss(one, other, settings.temperature)
        optimizer.step(loss, 1 - step / settings.steps)
        if checkpoint is not None and optimizer.n_steps % SAVED_EVERY == 0:
            optimizer.save(checkpoint)
    return model.eval()


def contrastive_loss(
    one: Float[Tensor, "batch d"], other: Float[Tensor, "batch d"], temperature: float
) -> Float[Tensor, ""]:
    """InfoNCE of paired vectors, in nats, the mean of both directions."""
    cosines = nn.functional.normalize(one) @ nn.functional.normalize(other).T / temperature
    place = torch.arange(len(cosines))
    loss = nn.functional.cross_entropy
    return (loss(cosines, place) + loss(cosines.T, place)) / 2


def tune(
    encoder: NgramModel,
    texts: Sequence[str],
    labels: Sequence[str],
    names: Sequence[str],
    settings: TuningSettings,
) -> NgramForSequenceClassification:
    """A classifier of the labels `names`, in this order, that starts from an encoder."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    config = NgramConfig(
        **{key: getattr(encoder.config, key) for key in ("vocab_size", "width", "hidden")},
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    model = NgramForSequenceClassification(config).train()
    model.encoder.load_state_dict(encoder.state_dict())
    bags = _Bags([ngram_ids(tuple(texts), int(config.vocab_size))])
    truth = torch.tensor([names.index(label) for label in labels])
    optimizer = NgramOptimizer(model, model.encoder.embed.weight, settings)
    batches = list(_batches(len(texts), settings, rng))
    for number, chosen in enumerate(batches):
        means = optimizer.means(*bags.batch(np.zeros(len(chosen), dtype=int), chosen))
        logits = model.classifier(model.encoder.of_means(means))
        loss = nn.functional.cross_entropy(logits, truth[chosen])
        optimizer.step(loss, 1 - number / len(batches))
    return model.eval()


def save(model: NgramModel | NgramForSequenceClassification, folder: Path) -> Path:
    """Write as a checkpoint folder of transformers."""
    model.save_pretrained(folder)
    return folder


def _batches(n: int, settings: TuningSettings, rng: np.random.Generator) -> Iterator[np.ndarray]:
    for _ in range(settings.epochs):
        order = rng.permutation(n)
        for start in range(0, n, settings.batch):
            yield order[start : start + settings.batch]


class _Bags:
    """N-grams of the texts of several locales, from which batches are put together."""

    def __init__(self, encoded: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.ids = [ids.numpy() for ids, _ in encoded]
        self.starts = [
            np.append(offsets.numpy(), len(ids))
            for ids, (_, offsets) in zip(self.ids, encoded, strict=True)
        ]

    def batch(self, locales: np.ndarray, texts: np.ndarray) -> tuple[Tensor, Tensor]:
        """Ids in one row and first places, of text texts[i] in locale locales[i]."""
        parts = [
            self.ids[locale][self.starts[locale][text] : self.starts[locale][text + 1]]
            for locale, text in zip(locales, texts, strict=True)
        ]
        offsets = np.cumsum([0, *map(len, parts[:-1])])
        return torch.from_numpy(np.concatenate(parts)), torch.from_numpy(offsets)
