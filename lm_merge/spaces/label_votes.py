"""Votes of classifiers: several sequence classifiers as one, without a new model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.models.classifier import Classifier, load_classifier
from lm_merge.operators.distributions import get_ensemble_method
from lm_merge.recipes import LogitRecipe, Recipe, as_source
from lm_merge.spaces.logits.logit_ensemble import ensemble_weights, weights_from_alpha


class LabelVotes:
    """Classifiers of the same labels that answer as one.

    classifiers: two or more; labels are matched by name, and the first one's order counts. weights: one
    a classifier, at least 0, divided by their sum; equal unless given; "majority" takes none. method:
    "soft" (weighted mean of the probabilities), "mean" (weighted mean of the logits), "majority" or
    "weighted_majority" (votes for each classifier's most probable label; of equal votes the larger
    mean probability counts): `lm_merge.operators.distributions`.

    Raises ValueError for labels that are not the same. A classifier that fails stops the vote, with its
    name.

    >>> import lm_merge as lm
    >>> from lm_merge.models.classifier import wrap_classifier
    >>> from lm_merge.zoo.ngram_classifier import NgramForSequenceClassification, NgramConfig
    >>> config = NgramConfig(vocab_size=50, width=4, hidden=4, id2label={0: "no", 1: "yes"})
    >>> models = [wrap_classifier(NgramForSequenceClassification(config), None, name) for name in "ab"]
    >>> lm.LabelVotes(models, weights=[3.0, 1.0])
    LabelVotes(a, b, weights=(0.75, 0.25), soft)
    """

    def __init__(
        self,
        classifiers: Sequence[Classifier],
        weights: Sequence[float] | None = None,
        method: str = "soft",
    ) -> None:
        self.classifiers = list(classifiers)
        if len(self.classifiers) < 2:
            raise ValueError(
                f"classifiers holds {len(self.classifiers)}; a vote needs at least two"
            )
        get_ensemble_method(method)
        self.method = method
        self.weights = ensemble_weights(weights, len(self.classifiers), method)
        self.labels = self.classifiers[0].labels
        self._orders = [label_order(self.classifiers[0], one) for one in self.classifiers]

    def __repr__(self) -> str:
        names = ", ".join(one.name for one in self.classifiers)
        return f"LabelVotes({names}, weights={self.weights}, {self.method})"

    @classmethod
    def of_recipe(
        cls,
        recipe: str | Path | dict[str, Any] | Recipe,
        *,
        device: str | torch.device | None = None,
    ) -> "LabelVotes":
        """The vote that a recipe of space 'logits' describes, its models loaded as classifiers."""
        given = Recipe.load(recipe)
        if not isinstance(given, LogitRecipe):
            raise ValueError(f"space={given.space!r}: votes need a recipe with space 'logits'")
        weights = None
        if given.alpha is not None:
            weights = weights_from_alpha(given.alpha, given.donor_weights, len(given.donors))
        sources = [as_source(one) for one in (given.host, *given.donors)]
        classifiers = [
            load_classifier(
                one.model, device=one.device or device, dtype=one.dtype, revision=one.revision
            )
            for one in sources
        ]
        return cls(classifiers, weights, given.operator)

    def votes(
        self, texts: Sequence[str], **options: Any
    ) -> Float[Tensor, "classifiers texts labels"]:
        """Logits of every classifier, labels in the first one's order.

        options: of `Classifier.logits`. Raises RuntimeError with the name of a classifier that fails.
        """
        found = []
        for one, order in zip(self.classifiers, self._orders, strict=True):
            try:
                found.append(one.logits(texts, **options)[:, order])
            except (RuntimeError, ValueError, IndexError) as error:
                raise RuntimeError(f"classifier {one.name!r} failed: {error}") from error
        return torch.stack(found)

    def combined(
        self, votes: Float[Tensor, "classifiers texts labels"]
    ) -> Float[Tensor, "texts labels"]:
        """Logits of the vote; their softmax is its distribution."""
        weights = torch.tensor(self.weights, dtype=votes.dtype).view(-1, 1, 1)
        return get_ensemble_method(self.method)(votes, weights)

    def logits(self, texts: Sequence[str], **options: Any) -> Float[Tensor, "texts labels"]:
        """Logits of the vote, one row a text."""
        return self.combined(self.votes(texts, **options))

    def predict(self, texts: Sequence[str], **options: Any) -> list[str]:
        """The label that the vote gives each text."""
        return [self.labels[place] for place in self.logits(texts, **options).argmax(-1).tolist()]


def label_order(host: Classifier, other: Classifier) -> list[int]:
    """Places of the host's labels among another's; ValueError that names labels only one has."""
    ours, theirs = set(host.labels), set(other.labels)
    if ours != theirs:
        more, less = sorted(theirs - ours)[:3], sorted(ours - theirs)[:3]
        raise ValueError(
            f"classifiers {host.name!r} and {other.name!r} differ in labels: "
            f"only {other.name!r} has {more}, only {host.name!r} has {less}"
        )
    return [other.labels.index(label) for label in host.labels]
