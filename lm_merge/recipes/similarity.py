"""Coefficients of a recipe by similarity to a target: which sources it has, and how much of each.

    coefficients: {similarity: uriel.csv, target: sq-AL, n_sources: 5, sources: "models/{locale}"}

A recipe of whole models with such coefficients is read as the ordinary recipe that they amount to: the
most similar source is the host, the others are donors, `alpha` and `donor_weights` are their weights. So
it is saved, and runs are identified, by the models and weights that were chosen.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lm_merge.coefficients.selection import Selection, select
from lm_merge.coefficients.similarity_matrix import read_similarity
from lm_merge.recipes.locale_sources import locale_sources
from lm_merge.recipes.selection_options import SelectionOptions
from lm_merge.recipes.sources import Source, as_source

KEY = "similarity"  # of the mapping `coefficients`, which tells it from other forms
UNWEIGHTED = ("majority", "model_stock")  # operators that take no weights
FROM_COEFFICIENTS = ("host", "donors", "alpha", "donor_weights")


class SimilarityCoefficients(SelectionOptions):
    """Coefficients by the sources' similarity to a target; see `SelectionRule` for the rule."""

    similarity: str = Field(min_length=1, description="CSV file of a square table of similarities")
    target: str = Field(min_length=1, description="row of the table: what the merge is for")
    n_sources: int | None = Field(
        default=None, ge=1, description="how many of the most similar; None: all that are there"
    )
    sources: str | dict[str, str] | None = Field(
        default=None,
        description="locale -> model, a YAML or CSV file of it, or a pattern with {locale}; None: the "
        "recipe's own models, named by the last part of their paths",
    )
    weights: Literal["similarity", "uniform"] = Field(
        default="similarity", description="uniform: the same sources with equal weights"
    )
    allow_missing: bool = Field(default=False, description="leave out sources that are not there")

    def choose(self, models: Mapping[str, str] | None = None) -> tuple[Selection, dict[str, str]]:
        """The chosen sources with their weights, and the model of each.

        models: name in the table -> model, where the recipe gives them; else those of `sources`.
        """
        matrix = read_similarity(self.similarity)
        if models is None:
            if self.sources is None:
                raise ValueError("coefficients: sources is missing; give locale -> model")
            models, _ = locale_sources(self.sources, matrix.names, allow_missing=self.allow_missing)
        own = int(self.include_target)
        n_sources = self.n_sources or max(1, len(set(models) - {self.target}) + own)
        rule = self.rule_for(n_sources)
        if self.n_sources is None:
            rule = replace(rule, same_language=True)  # all means those of the same language, too
        selection = select(matrix, self.target, list(models), rule)
        selection = selection.equal() if self.weights == "uniform" else selection
        return selection, {name: models[name] for name in selection.names}


def is_by_similarity(coefficients: object) -> bool:
    """Whether a recipe's `coefficients` are a mapping of this kind, or one already checked."""
    if isinstance(coefficients, SimilarityCoefficients):
        return True
    return isinstance(coefficients, Mapping) and KEY in coefficients


def with_chosen_models(given: Any) -> Any:
    """The content of a recipe of whole models with host, donors and weights in place of coefficients.

    Content without coefficients by similarity comes back as it is. Raises ValueError for fields that
    coefficients replace, and for a single source, which merges nothing.
    """
    if not isinstance(given, Mapping) or not is_by_similarity(given.get("coefficients")):
        return given
    content = dict(given)
    wanted = SimilarityCoefficients.model_validate(content.pop("coefficients"))
    models = None
    if wanted.sources is None:
        listed = [content.get("host"), *(content.get("donors") or ())]
        models = {_name(one): one for one in listed if one is not None}
        taken = {key: content.pop(key) for key in ("host", "donors") if key in content}
        if len(models) < 2:
            raise ValueError(
                "coefficients: give sources (locale -> model), or host and donors whose names are rows "
                f"of the similarity, not {taken}"
            )
    twice = [key for key in FROM_COEFFICIENTS if content.get(key) is not None]
    if twice:
        raise ValueError(
            f"{twice[0]} and coefficients by similarity both give it; leave {twice[0]} out"
        )
    if models is None:
        selection, chosen = wanted.choose()
        sources: list[Any] = list(chosen.values())
    else:
        selection, chosen = wanted.choose({name: name for name in models})
        sources = [models[name] for name in selection.names]
    if len(sources) < 2:
        raise ValueError(
            f"n_sources={len(sources)}: one model is no merge; give n_sources of 2 or more"
        )
    content |= {"host": sources[0], "donors": tuple(sources[1:])}
    if content.get("operator") not in UNWEIGHTED:
        weights = selection.weights
        content |= {"alpha": 1 - weights[0], "donor_weights": weights[1:]}
    return content


def _name(source: Source | Mapping[str, Any]) -> str:
    given = str(source["model"]) if isinstance(source, Mapping) else as_source(source).model
    return Path(given).name
