"""Options of `analyses.similarity_merging`."""

import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from analyses.running.massive_options import MassiveOptions
from analyses.running.statistics_texts import StatisticsOptions
from lm_merge.coefficients.selection import (
    Selection,
    SelectionRule,
    select,
    select_all,
    select_at_random,
    select_by_hand,
)
from lm_merge.coefficients.similarity_matrix import read_similarity
from lm_merge.recipes.selection_options import SelectionOptions

Weights = Literal["similarity", "uniform", "transfer", "random", "all", "manual"]


class SimilarityMergingConfig(SelectionOptions, StatisticsOptions, MassiveOptions):
    """A target, how its sources are chosen and weighed, and how they are merged or vote."""

    target: str = Field(description="locale that the merge is for")
    similarity: Path | None = Field(
        default=None, description="CSV file of similarities; needed for similarity and uniform"
    )
    transfer: Path | None = Field(
        default=None,
        description="similarity_from_transfer.csv of analyses.transfer_matrix, for weights transfer",
    )
    weights: Weights = Field(
        default="similarity",
        description="similarity; uniform (the same sources, equal); transfer; random; all; manual",
    )
    manual_weights: dict[str, float] | None = Field(
        default=None, description="locale -> weight, for weights manual"
    )
    method: str = Field(
        default="linear",
        description="a merge of weights (linear, slerp, ties, fisher, ...) or a vote (majority, "
        "weighted_majority, soft, mean)",
    )
    method_args: dict[str, Any] = Field(default={}, description="parameters of the merge")
    base: str | None = Field(default=None, description="common ancestor, where the merge needs one")
    n_sources: PositiveInt = Field(default=5, description="how many sources")
    seeds: tuple[NonNegativeInt, ...] = Field(
        default=(0,), min_length=1, description="of random sources and weights"
    )
    baselines: bool = Field(
        default=True, description="also measure the target's own model and each chosen source"
    )
    dry_run: bool = Field(default=False, description="print sources and weights, and stop")

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "SimilarityMergingConfig":
        needed = {"similarity": "similarity", "uniform": "similarity", "transfer": "transfer"}
        needed |= {"manual": "manual_weights"}
        field = needed.get(self.weights)
        if field is not None and getattr(self, field) is None:
            raise ValueError(f"weights={self.weights!r} needs {field}; give it, or other weights")
        return self

    @property
    def words(self) -> str:
        """What is measured, in one line."""
        return f"{self.target}, {self.weights} weights, {self.method}"

    @property
    def read_files(self) -> tuple[Path, ...]:
        given = (self.similarity, self.transfer, None if self.base is None else Path(self.base))
        return tuple(path for path in given if path is not None)

    @property
    def rule(self) -> SelectionRule:
        """How sources are chosen."""
        return self.rule_for(self.n_sources)

    def selections(self) -> dict[int | None, Selection]:
        """Seed -> chosen sources; None for weights that are not random."""
        available = list(self.models)
        if self.weights == "random":
            return {
                seed: select_at_random(self.target, available, seed, self.rule)
                for seed in self.seeds
            }
        if self.weights == "all":
            return {None: select_all(self.target, available)}
        if self.weights == "manual":
            assert self.manual_weights is not None  # checked above
            unknown = sorted(set(self.manual_weights) - set(available))
            if unknown:
                raise ValueError(
                    f"manual_weights: {', '.join(unknown)} are not among the sources "
                    f"({', '.join(available)})"
                )
            return {None: select_by_hand(self.target, self.manual_weights)}
        path = self.transfer if self.weights == "transfer" else self.similarity
        assert path is not None  # checked above
        chosen = select(read_similarity(path), self.target, available, self.rule)
        return {None: chosen.equal() if self.weights == "uniform" else chosen}

    def print_selection(self) -> None:
        """Sources and weights, one line each, before any model is loaded."""
        for seed, selection in self.selections().items():
            suffix = "" if seed is None else f", seed {seed}"
            sys.stdout.write(f"target {selection.label}{suffix}\n")
            for row in selection.rows():
                sys.stdout.write(
                    f"  {row['source']}  similarity {row['similarity']:.3f}  weight "
                    f"{row['weight']:.4f}  {self.models[str(row['source'])]}\n"
                )
