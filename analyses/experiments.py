"""The experiments of the paper: how each is set up from a recipe, and what of it is printed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from analyses import comparison, curvature, layerwise, similarity, spaces, tokens
from analyses.command_line import Figure, Tables
from figures import interval_table
from lm_merge.recipe import Recipe
from lm_merge.records import Run


@dataclass(frozen=True)
class Size:
    """How much of everything, and where it runs."""

    n_questions: int
    n_seeds: int
    n_prompts: int
    device: str | None
    dtype: str | None


@dataclass(frozen=True)
class Experiment:
    """One analysis as part of the paper."""

    title: str
    text: str
    configure: Callable[[Recipe, Size], Any]
    run: Callable[[Any, Run], Tables]
    draw: Callable[[Tables, Any], list[Figure]]
    print_tables: Callable[[Tables], dict[str, pd.DataFrame]]  # name -> table, set for print
    findings: Callable[[Tables], list[str]]  # sentences with numbers


def _fields(recipe: Recipe) -> dict[str, Any]:
    return {key: getattr(recipe, key) for key in Recipe.model_fields}


def _comparison_config(recipe: Recipe, size: Size) -> comparison.ComparisonConfig:
    assert recipe.layers is not None  # of space latents, which the paper checks
    alpha = recipe.alpha
    if isinstance(recipe.layers, dict):
        alpha = next(iter(recipe.layers.values()))
    return comparison.ComparisonConfig(
        host=recipe.host,
        donors=recipe.donors,
        layers=tuple(recipe.layers),
        alpha=0.5 if alpha is None else alpha,
        accept=recipe.accept,
        n_per_category=size.n_questions,
        seeds=tuple(range(size.n_seeds)),
        device=size.device,
        dtype=size.dtype,
    )


def _comparison_print(tables: Tables) -> dict[str, pd.DataFrame]:
    percent = {"digits": 1, "scale": 100}
    accuracy = _spread(tables["accuracy"], ["system"], "category", value="accuracy_frac", **percent)
    rates = _spread(
        tables["win_rates"], ["system", "opponent"], "category", value="win_rate", **percent
    )
    return {"accuracy": accuracy, "win_rates": rates}


def _similarity_config(recipe: Recipe, size: Size) -> similarity.SimilarityConfig:
    return similarity.SimilarityConfig(
        **_fields(recipe),
        beside=(),  # the next experiment sets the spaces side by side
        n_prompts=size.n_prompts,
        device=size.device,
        dtype=size.dtype,
    )


def _similarity_print(tables: Tables) -> dict[str, pd.DataFrame]:
    table = tables["similarity"]
    rows = table[table.layer == table.layer.max()].assign(
        low=lambda one: one.value - 1.96 * one.standard_error,
        high=lambda one: one.value + 1.96 * one.standard_error,
    )
    shown = ["midness", "arc_ratio", "cka_debiased_host_merged", "cka_debiased_donor_merged"]
    rows = rows[rows.metric.isin(shown)]
    assert isinstance(rows, pd.DataFrame)
    wide = _spread(rows, ["space", "operator", "alpha"], "metric", digits=3)
    return {"similarity": wide}


def _spread(
    rows: pd.DataFrame,
    keys: list[str],
    columns: str,
    *,
    digits: int,
    value: str = "value",
    scale: float = 1,
) -> pd.DataFrame:
    """A tidy table with a value, low and high, set for print: both in every cell."""
    bounds = {"value": value, "low": "low", "high": "high"}
    return interval_table(rows, rows=keys, columns=columns, digits=digits, scale=scale, **bounds)


def _layerwise_config(recipe: Recipe, size: Size) -> layerwise.LayerwiseConfig:
    fields = _fields(recipe) | {"layers": (), "alpha": None}  # the grid stands in for both
    return layerwise.LayerwiseConfig(
        **fields,
        n_questions=max(1, size.n_questions // 8),  # for each of some thirty merges
        device=size.device,
        dtype=size.dtype,
    )


def _layerwise_print(tables: Tables) -> dict[str, pd.DataFrame]:
    table = tables["layerwise"]
    printed = {}
    for metric in ("loss_answer", "kl_host", "accuracy"):
        rows = pd.DataFrame(table[(table.metric == metric) & table.value.notna()])
        if len(rows):
            block = rows.layer.astype("string").fillna("all")
            printed[f"layerwise_{metric}"] = _spread(
                rows.assign(block=block), ["space", "block", "operator"], "alpha", digits=3
            )
    return printed


def _pair(recipe: Recipe, size: Size) -> dict[str, Any]:
    """Host and first donor, for experiments that choose operators and alphas themselves."""
    return {
        "host": recipe.host,
        "donors": recipe.donors[:1],
        "device": size.device,
        "dtype": size.dtype,
    }


def _curvature_config(recipe: Recipe, size: Size) -> curvature.CurvatureConfig:
    return curvature.CurvatureConfig(**_pair(recipe, size), accept=recipe.accept)


def _curvature_print(tables: Tables) -> dict[str, pd.DataFrame]:
    table = tables["curvature"]
    shown = table[table.statistic == "median"]
    columns = ["layer", "alpha", "metric"]
    wide = shown.pivot_table(index=columns[:2], columns="metric", values="value", dropna=False)
    return {"curvature_medians": wide.reset_index().rename_axis(columns=None)}


def _spaces_config(recipe: Recipe, size: Size) -> spaces.SpacesConfig:
    layers = tuple(recipe.layers or ())
    return spaces.SpacesConfig(**_pair(recipe, size), layers=layers, n_prompts=size.n_prompts)


def _tokens_config(recipe: Recipe, size: Size) -> tokens.TokensConfig:
    return tokens.TokensConfig(**_fields(recipe), device=size.device, dtype=size.dtype)


EXPERIMENTS = {
    "comparison": Experiment(
        title="Experiment A: latent, weight and logit merges on the same questions",
        text="Verifiable accuracy in percent with 95 % intervals, and win rates by the answer key: a "
        "win is a right answer where the other system's is wrong. Intervals count distinct questions.",
        configure=_comparison_config,
        run=partial(comparison.run, quiet=False),
        draw=lambda tables, config: comparison.draw(tables),
        print_tables=_comparison_print,
        findings=lambda tables: comparison.summary(tables).splitlines(),
    ),
    "similarity": Experiment(
        title="Experiment B: where the merged stream lies",
        text="Both parents and the merge read the same prompts. Values at the last block.",
        configure=_similarity_config,
        run=partial(similarity.run, quiet=False),
        draw=lambda tables, config: similarity.draw(tables, tuple(config.layers)),
        print_tables=_similarity_print,
        findings=lambda tables: similarity.summary(tables).splitlines(),
    ),
    "spaces": Experiment(
        title="Experiment B: latents against weights",
        text="The same pair merged in latents, weights and logits. The table says whether latents lie "
        "nearer the midpoint and nearer the host than weights do, as was published for 7B models.",
        configure=_spaces_config,
        run=partial(spaces.run, quiet=False),
        draw=spaces.draw,
        print_tables=lambda tables: {"direction": tables["direction"]},
        findings=lambda tables: spaces.summary(tables["direction"]).splitlines(),
    ),
    "layerwise": Experiment(
        title="Experiment C: which block, how much, by which operator",
        text="Merges at one block each. Loss in nats on the right answers, KL to the host in nats, "
        "and accuracy (a share) by generation, with 95 % intervals. Signals that need no answer are "
        "ranked against them. With one donor regmean is lerp at alpha = 1 / (1 + lambda_reg).",
        configure=_layerwise_config,
        run=partial(layerwise.run, quiet=False),
        draw=lambda tables, config: layerwise.draw(tables),
        print_tables=_layerwise_print,
        findings=lambda tables: layerwise.summary(tables["layerwise"]).splitlines(),
    ),
    "curvature": Experiment(
        title="Curvature: how much a merge can cost, and does",
        text="K_g is the largest negative curvature of a token's loss along the segment from host to "
        "donor, per squared norm; the gap is its loss above the line between the ends, in nats.",
        configure=_curvature_config,
        run=partial(curvature.run, quiet=False),
        draw=lambda tables, config: curvature.draw(tables),
        print_tables=_curvature_print,
        findings=lambda tables: [curvature.summary(tables)],
    ),
    "tokens": Experiment(
        title="One prompt, token by token",
        text="The merge answers a prompt; both parents then read the same text.",
        configure=_tokens_config,
        run=tokens.run,
        draw=lambda tables, config: tokens.draw(tables),
        print_tables=lambda tables: {},
        findings=lambda tables: [],
    ),
}
