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
from lm_merge.zoo.ngram_settings import PretrainingSettings, TuningSettings

BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's


def pretrain(texts: Mapping[str, Sequence[str]], settings: PretrainingSettings) -> NgramModel:
    """An encoder for which translations are near each other: InfoNCE over pairs of locales.

    texts: locale -> utterances, the same ones in the same order for every locale. Each pair of a batch
    has two locales of its own. Raises ValueError for fewer than two locales or lists that differ in
    length.
    """
    lengths = {len(own) for own in texts.values()}
    if len(texts) < 2 or len(lengths) != 1:
        raise ValueError(
            f"texts of {len(texts)} locales with {lengths} entries: give parallel ones"
        )
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    config = NgramConfig(settings.vocab_size, settings.width, settings.hidden)
    model = NgramModel(config).train()
    bags = _Bags([ngram_ids(tuple(own), settings.vocab_size) for own in texts.values()])
    n_texts, optimizer = (
        lengths.pop(),
        _Optimizer(model, model.embed.weight, settings),
    )
    for step in range(settings.steps):
        chosen = rng.choice(n_texts, min(settings.batch, n_texts), replace=False)
        first = rng.integers(len(texts), size=len(chosen))
        second = (first + rng.integers(1, len(texts), size=len(chosen))) % len(texts)
        means = optimizer.means(*bags.batch(np.append(first, second), np.append(chosen, chosen)))
        one, other = model.of_means(means).chunk(2)
        loss = contrastive_loss(one, other, settings.temperature)
        optimizer.step(loss, 1 - step / settings.steps)
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
    optimizer = _Optimizer(model, model.encoder.embed.weight, settings)
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


class _Optimizer:
    """Adam; of the n-grams' vectors only those of a batch are read, and moved, at a step.

    Their moments rest while they do not occur, as in torch's SparseAdam, at a tenth of its time.
    """

    def __init__(
        self,
        model: nn.Module,
        vectors: Tensor,
        settings: PretrainingSettings | TuningSettings,
    ) -> None:
        dense = [one for one in model.parameters() if one is not vectors]
        self._dense, self._settings = torch.optim.Adam(dense), settings
        self._vectors, self._n_steps = vectors.detach(), 0
        self._moments = torch.zeros_like(self._vectors), torch.zeros_like(self._vectors)
        self._rows = self._leaf = torch.empty(0)

    def means(self, ids: Tensor, offsets: Tensor) -> Float[Tensor, "batch width"]:
        """Means of the texts' vectors, through which the next step's gradient flows."""
        self._rows, places = ids.unique(return_inverse=True)
        self._leaf = self._vectors[self._rows].requires_grad_()
        return nn.functional.embedding_bag(places, self._leaf, offsets, mode="mean")

    def step(self, loss: Tensor, share: float) -> None:
        """One step at a share of the learning rates."""
        self._dense.param_groups[0]["lr"] = self._settings.learning_rate * share
        self._dense.zero_grad()
        loss.backward()
        self._dense.step()
        gradient = self._leaf.grad
        assert gradient is not None
        self._n_steps += 1
        corrections = [1 - beta**self._n_steps for beta in BETAS]
        first, second = (one[self._rows] for one in self._moments)
        first.lerp_(gradient, 1 - BETAS[0])
        second.lerp_(gradient.square(), 1 - BETAS[1])
        for moments, values in zip(self._moments, (first, second), strict=True):
            moments[self._rows] = values
        change = first / corrections[0] / ((second / corrections[1]).sqrt() + EPSILON)
        self._vectors[self._rows] -= self._settings.vector_rate * share * change
