"""Which sources a target gets, and how much of each: from a row of a similarity matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lm_merge.coefficients.similarity_matrix import SimilarityMatrix
from lm_merge.coefficients.sinkhorn import sinkhorn

Normalizer = Literal["row", "softmax", "sinkhorn"]


@dataclass(frozen=True)
class Selection:
    """Sources of a target, the most similar first, with weights that sum to 1."""

    target: str
    names: tuple[str, ...]
    similarities: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def label(self) -> str:
        """The target, and whether its own model takes part."""
        return f"{self.target} (own model included)" if self.target in self.names else self.target

    def equal(self) -> "Selection":
        """The same sources with equal weights."""
        return replace(self, weights=(1 / len(self.names),) * len(self.names))

    def rows(self) -> list[dict[str, object]]:
        """Rows of a table: target, source, similarity, weight."""
        return [
            {"target": self.target, "source": name, "similarity": similarity, "weight": weight}
            for name, similarity, weight in zip(
                self.names, self.similarities, self.weights, strict=True
            )
        ]


@dataclass(frozen=True)
class SelectionRule:
    """How sources are chosen and weighed.

    n_sources: how many. normalizer: similarities to weights, "row" S / sum S, "softmax"
    exp(S / temperature) / sum, or "sinkhorn" (`sinkhorn` of the whole matrix with row_top_k and
    sinkhorn_steps decides the order, too). row_top_k: of a row, only so many largest similarities
    count, in every normalizer. affine: (1 + S) / 2 in place of S. include_target: the target's own
    model takes part, with similarity 1. same_language: whether other locales of the target's language
    (zh-TW for zh-CN) may be sources.
    """

    n_sources: int = 5
    normalizer: Normalizer = "row"
    temperature: float = 0.05
    row_top_k: int = 20
    sinkhorn_steps: int = 20
    affine: bool = False
    include_target: bool = False
    same_language: bool = False

    def __post_init__(self) -> None:
        if self.n_sources < 1 or self.row_top_k < 1 or self.sinkhorn_steps < 1:
            raise ValueError(
                f"n_sources={self.n_sources}, row_top_k={self.row_top_k} and sinkhorn_steps="
                f"{self.sinkhorn_steps} must be at least 1"
            )
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature} must be above 0")


def select(
    matrix: SimilarityMatrix,
    target: str,
    available: Sequence[str],
    rule: SelectionRule = SelectionRule(),
) -> Selection:
    """The most similar of the available sources and their weights; equal similarities by name.

    Raises ValueError where the target or a source has no row, or too few sources are left.

    >>> import numpy as np
    >>> values = np.array([[1.0, 0.6, 0.3], [0.6, 1.0, 0.5], [0.3, 0.5, 1.0]])
    >>> matrix = SimilarityMatrix(("de-DE", "nl-NL", "fi-FI"), values)
    >>> chosen = select(matrix, "de-DE", ("nl-NL", "fi-FI"), SelectionRule(n_sources=2))
    >>> chosen.names, [round(weight, 3) for weight in chosen.weights]
    (('nl-NL', 'fi-FI'), [0.667, 0.333])
    """
    candidates = _candidates(target, available, rule)
    if len(candidates) < rule.n_sources:
        raise ValueError(
            f"n_sources={rule.n_sources}: target {target!r} has {len(candidates)} available sources; "
            "give a smaller n_sources, or more sources"
        )
    similarity = _row(matrix, target, rule)
    for name in candidates:
        matrix.place(name)
    scores = similarity
    if rule.normalizer == "sinkhorn":
        scores = _balanced_row(matrix, target, rule)
    chosen = sorted(candidates, key=lambda name: (-scores[name], name))[: rule.n_sources]
    values = np.array([scores[name] for name in chosen])
    weights = _normalized(values, rule, target)
    return Selection(
        target,
        tuple(chosen),
        tuple(similarity[name] for name in chosen),
        tuple(float(weight) for weight in weights),
    )


def select_at_random(
    target: str, available: Sequence[str], seed: int, rule: SelectionRule = SelectionRule()
) -> Selection:
    """Sources drawn without replacement and weights drawn evenly from (0, 1), then normalised.

    The draw depends on the seed and the target's name alone. Similarities are NaN.
    """
    candidates = sorted(_candidates(target, available, rule))
    if len(candidates) < rule.n_sources:
        raise ValueError(
            f"n_sources={rule.n_sources}: target {target!r} has {len(candidates)} available sources"
        )
    rng = np.random.default_rng([seed, *target.encode()])
    names = tuple(map(str, rng.choice(candidates, rule.n_sources, replace=False)))
    weights = 1 - rng.random(rule.n_sources)  # in (0, 1]
    return _with_weights(target, names, weights / weights.sum())


def select_all(target: str, available: Sequence[str]) -> Selection:
    """Every available source but the target's own, with equal weights."""
    names = tuple(sorted(name for name in available if name != target))
    if not names:
        raise ValueError(f"target {target!r} has no source but itself; give others")
    return _with_weights(target, names, np.full(len(names), 1 / len(names)))


def select_by_hand(target: str, weights: Mapping[str, float]) -> Selection:
    """The given sources with the given weights, at least 0, divided by their sum."""
    values = np.array(list(weights.values()), dtype=float)
    if not len(values) or not np.isfinite(values).all() or (values < 0).any() or not values.sum():
        raise ValueError(f"weights={dict(weights)} must be finite, at least 0, and not all 0")
    return _with_weights(target, tuple(weights), values / values.sum())


def language_of(locale: str) -> str:
    """The language code of a locale, for example zh for zh-TW."""
    return locale.replace("_", "-").split("-")[0].lower()


def _candidates(target: str, available: Sequence[str], rule: SelectionRule) -> list[str]:
    kept = [
        name
        for name in dict.fromkeys(available)
        if name != target and (rule.same_language or language_of(name) != language_of(target))
    ]
    if rule.include_target:
        if target not in available:
            raise ValueError(
                f"include_target: {target!r} itself is not among the sources; add its model"
            )
        kept.append(target)
    return kept


def _row(matrix: SimilarityMatrix, target: str, rule: SelectionRule) -> dict[str, float]:
    """Similarities of a target after affine, with 1 for itself and -inf below the k-th largest."""
    row = matrix.row(target)
    if rule.affine:
        row = {name: (1 + value) / 2 for name, value in row.items()}
    others = sorted((value for name, value in row.items() if name != target), reverse=True)
    least = others[min(rule.row_top_k, len(others)) - 1] if others else -np.inf
    kept = {name: value if value >= least else -np.inf for name, value in row.items()}
    return kept | {target: 1.0}


def _balanced_row(matrix: SimilarityMatrix, target: str, rule: SelectionRule) -> dict[str, float]:
    values = (1 + matrix.values) / 2 if rule.affine else matrix.values
    balanced = sinkhorn(values, row_top_k=rule.row_top_k, steps=rule.sinkhorn_steps)
    row = balanced[matrix.place(target)]
    scores = {name: float(value) for name, value in zip(matrix.names, row, strict=True)}
    if rule.include_target:
        # similarity 1 next to a row of similarities that Sinkhorn scaled to a sum of nearly 1
        given = _row(matrix, target, rule)
        kept = sum(given[name] for name in matrix.names if name != target and scores[name] > 0)
        scores[target] = sum(scores.values()) / kept
    return scores


def _normalized(
    values: Float[ndarray, " n"], rule: SelectionRule, target: str
) -> Float[ndarray, " n"]:
    if not np.isfinite(values).all() or (rule.normalizer == "sinkhorn" and values.min() <= 0):
        raise ValueError(
            f"row_top_k={rule.row_top_k} leaves target {target!r} fewer than n_sources="
            f"{rule.n_sources} available sources; give a larger row_top_k or a smaller n_sources"
        )
    if rule.normalizer == "softmax":
        weights = np.exp((values - values.max()) / rule.temperature)
        return weights / weights.sum()
    if values.min() < 0 or values.max() <= 0:
        raise ValueError(
            f"target {target!r} has a source with similarity {values.min():g}, and weights are at "
            "least 0: take normalizer 'softmax', affine: true, or a smaller n_sources"
        )
    scaled = values / values.max()  # equal similarities give equal weights bit for bit
    return scaled / scaled.sum()


def _with_weights(target: str, names: tuple[str, ...], weights: ndarray) -> Selection:
    unknown = (float("nan"),) * len(names)
    return Selection(target, names, unknown, tuple(float(weight) for weight in weights))
