"""The same pair merged in latents, in weights and in logits, side by side: `python -m analyses.spaces`.

Latents and weights: midness and CKA of the merged stream with its parents', block by block. All three:
how far the merge's next-token distributions lie from its parents' (KL and Jensen-Shannon divergence,
nats). Experiment B of the latent-merging paper (OpenReview ocEoHCrezd): table "direction" says whether
latents lie nearer the midpoint and nearer the host than weights, as published for 7B models, here too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, computed_field, model_validator

from analyses import similarity
from analyses.compositions import compositions
from analyses.running.command_line import (
    Figure,
    OutputOptions,
    Tables,
    analysis_main,
    one_line_errors,
)
from analyses.running.inputs import fingerprints_of, note_models, recipe_sources
from analyses.similarity import SimilarityConfig, middle
from figures import plot_output_divergence, plot_similarity_by_layer
from lm_merge.recipes import Recipe, Source, Tolerance
from lm_merge.runs.record import Run
from lm_merge.statistics.intervals import difference_interval

COMPARED = ("midness", "cka_biased_host_merged", "cka_debiased_host_merged")
# OpenReview ocEoHCrezd: ranges over operators, Qwen2.5-7B-Instruct + OpenThinker3-7B, 270 prompts
PUBLISHED = {
    "midness": {"latents": "0.77 to 0.80", "weights": "0.61 to 0.64"},
    "cka_biased_host_merged": {"latents": "0.83 to 0.89", "weights": "0.32 to 0.35"},
}


class SpacesConfig(BaseModel):
    """A pair, how it is merged in each space, and on what that is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Source = Field(default="tiny-instruct", description="carries the forward pass")
    donors: tuple[Source, ...] = Field(
        default=("tiny-thinker",), description="the other models; similarity is to the first"
    )
    base: Source | None = Field(
        default=None, description="common ancestor, for the operator task_vector"
    )
    donor_weights: tuple[float, ...] | None = Field(
        default=None, description="the donors' parts of alpha, equal if None"
    )
    layers: tuple[int, ...] = Field(
        default=(3,), description="latents: blocks whose resid_post is merged, from 0"
    )
    positions: Literal["all", "last"] = Field(
        default="all", description="latents: which tokens are merged and measured, as in a recipe"
    )
    donor_stream: Literal["pure", "coupled"] = Field(
        default="pure", description="latents: as in a recipe"
    )
    accept: tuple[Tolerance, ...] = Field(
        default=(), description="differences between the models that are accepted"
    )
    operators: tuple[str, ...] = Field(
        default=("lerp", "slerp"), description="of latents and of weights alike"
    )
    methods: tuple[str, ...] = Field(
        default=("soft",), description="of logits: soft, mean or weighted_majority"
    )
    alphas: tuple[float, ...] = Field(
        default=(0.25, 0.5, 0.75), min_length=1, description="weights of the donors to measure"
    )
    prompts: Path | None = Field(
        default=None, description="text file, one prompt a line; None: the bundled questions"
    )
    n_prompts: PositiveInt = Field(default=128, description="how many prompts at most")
    chat: bool = Field(default=True, description="put prompts into the host's chat template")
    batch_size: PositiveInt = Field(default=16, description="prompts a forward pass")
    device: str | None = Field(default=None, description="torch device; None: the CPU")
    dtype: str | None = Field(default=None, description="torch dtype; None: the checkpoint's")
    seed: int = Field(default=0, description="of the bundled questions")

    @model_validator(mode="after")
    def _base_for_its_operator(self) -> "SpacesConfig":
        if ("task_vector" in self.operators) != (self.base is not None):
            raise ValueError(
                f"base={self.base!r} and operators={list(self.operators)}: base, the common ancestor, "
                "is for task_vector, which needs it; give both or neither"
            )
        return self

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of the files that go in, so that a run is found again only for the same."""
        sources = (source for recipe in recipes(self) for source in recipe_sources(recipe))
        return fingerprints_of(sources, self.prompts)


def recipes(config: SpacesConfig) -> Iterator[Recipe]:
    """One recipe for every space and operator."""
    common: dict[str, Any] = {
        "host": config.host,
        "donors": config.donors,
        "donor_weights": config.donor_weights,
        "alpha": config.alphas[0],
    }
    of_latents: dict[str, Any] = {
        "layers": config.layers,
        "positions": config.positions,
        "donor_stream": config.donor_stream,
        "accept": config.accept,
    }
    for operator in config.operators:
        base = config.base if operator == "task_vector" else None
        of_operator = {"operator": operator, "base": base, **common}
        yield Recipe(space="latents", **of_latents, **of_operator)
        yield Recipe(space="weights", **of_operator)
    for method in config.methods:
        yield Recipe(space="logits", operator=method, accept=config.accept, **common)


def run(config: SpacesConfig, record: Run | None = None, *, quiet: bool = True) -> Tables:
    """Tables "similarity" (as in analyses.similarity), "output" and "direction"."""
    shared = set(SimilarityConfig.model_fields) & set(SpacesConfig.model_fields)
    prompts_config = SimilarityConfig(**{key: getattr(config, key) for key in shared})
    found = []
    for recipe in recipes(config):
        merges = compositions(recipe, config.alphas, device=config.device, dtype=config.dtype)
        note_models(record, merges, seeds=(config.seed,))
        # a merge of whole models has no positions: it is measured where the latent merge is
        measured = merges.recipe.model_copy(update={"positions": config.positions})
        merges = replace(merges, recipe=measured)
        batches = similarity.prompt_batches(merges.host, prompts_config)
        found.append(similarity.tables_of(merges, batches, quiet=quiet))
    tables = {"similarity": pd.DataFrame()} | similarity.side_by_side(found)
    direction = direction_table(tables["similarity"], middle(config.alphas))
    return tables | {"direction": direction}


def direction_table(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Latents less weights at the last block, one row an operator and metric, beside the published.

    Columns operator, metric, latents, weights, difference, low and high (95 % interval of the
    difference), published_latents and published_weights (7B pair), direction: "as published" where
    the whole interval lies above 0, "opposite" below, else "undecided". Both spaces read the same
    texts; the interval takes their errors as independent, which makes it too wide if anything.
    """
    rows = []
    if table.empty:
        return pd.DataFrame()
    last = table.loc[(table.layer == table.layer.max()) & (table.alpha == alpha)]
    for operator in last.operator.unique():
        for metric in COMPARED:
            one = last.loc[(last.operator == operator) & (last.metric == metric)]
            one = one.set_index("space")
            if not {"latents", "weights"} <= set(one.index):
                continue
            difference = one.value["latents"] - one.value["weights"]
            ends = one[["value", "low", "high"]]
            low, high = difference_interval(*(tuple(ends.loc[s]) for s in ("latents", "weights")))
            published = PUBLISHED.get(metric, {"latents": "", "weights": ""})
            rows.append(
                {
                    "operator": operator,
                    "alpha": alpha,
                    "layer": int(one.layer.iloc[0]),
                    "metric": metric,
                    "latents": one.value["latents"],
                    "weights": one.value["weights"],
                    "difference": difference,
                    "low": low,
                    "high": high,
                    "n": int(one.n.min()),
                    "published_latents": published["latents"],
                    "published_weights": published["weights"],
                    "direction": _direction(low, high),
                }
            )
    return pd.DataFrame(rows)


def _direction(low: float, high: float) -> str:
    if low > 0:
        return "as published"
    return "opposite" if high < 0 else "undecided"


def draw(tables: Tables, config: SpacesConfig) -> list[Figure]:
    """The analysis's figures, each with the table it draws; similarity at the middle alpha."""
    shown = tables["similarity"]
    shown = shown.loc[shown.alpha == middle(config.alphas)] if len(shown) else shown
    output = tables["output"]
    drawn = [("output_divergence_by_space", plot_output_divergence(output), output)]
    if len(shown):
        figure = plot_similarity_by_layer(shown, merged_layers=config.layers)
        drawn.insert(0, ("similarity_by_space", figure, shown))
    return drawn


def summary(direction: pd.DataFrame) -> str:
    """One line an operator and metric: both spaces at the last block, and whether it is as published."""
    lines = []
    for row in direction.to_dict("records"):
        interval = f"{row['low']:+.3f} to {row['high']:+.3f}"
        if pd.isna(row["low"]):
            interval = "no interval from so few texts: raise n_prompts"
        lines.append(
            f"last block, alpha {row['alpha']:g}, {row['operator']}, {row['metric']}: latents "
            f"{row['latents']:.3f}, weights {row['weights']:.3f}, difference {row['difference']:+.3f} "
            f"({interval}): {row['direction']}"
        )
    return "\n".join(lines)


class SpacesOptions(SpacesConfig, OutputOptions):
    """The configuration and where results go."""


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure (or find the finished run), draw, save, say where."""
    analysis_main(
        "spaces",
        SpacesOptions,
        SpacesConfig,
        argv,
        run=partial(run, quiet=False),
        draw=draw,
        summary=lambda tables: summary(tables["direction"]),
        description=__doc__,
    )


if __name__ == "__main__":
    with one_line_errors("spaces"):
        main()
