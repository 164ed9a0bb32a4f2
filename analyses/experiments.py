"""The experiments of the paper: how each is set up from a recipe, and what of it is printed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from analyses import comparison, curvature, layerwise, similarity, spaces, tokens
from analyses.running.command_line import Figure, Tables
from analyses.running.flat_recipe import FlatRecipe
from figures import interval_table
from lm_merge.coefficients import alpha_from_lambda
from lm_merge.recipes import Recipe
from lm_merge.runs.record import Run


@dataclass(frozen=True)
class Size:
    """How much of everything, and where it runs."""

    n_questions: int
    n_seeds: int
    n_prompts: int
    device: str | None
    dtype: str | None
    questions: str | None = None  # as in analyses.comparison; None: the bundled ones
    max_new_tokens: int | None = None  # of an answer; None: each experiment's own
    batch_size: int | None = None  # None: each experiment's own


@dataclass(frozen=True)
class Experiment:
    """One analysis as part of the paper.

    keeps: fields of the recipe that it takes as they are; of `layers` at least the blocks. chooses:
    those that it sets itself, as its text says. `configure` raises ValueError for a recipe that the
    experiment would have to change otherwise.
    """

    title: str
    text: str
    configure: Callable[[Recipe, Size], Any]
    run: Callable[[Any, Run], Tables]
    draw: Callable[[Tables, Any], list[Figure]]
    print_tables: Callable[[Tables], dict[str, pd.DataFrame]]  # name -> table, set for print
    findings: Callable[[Tables], list[str]]  # sentences with numbers
    keeps: tuple[str, ...]
    chooses: tuple[str, ...] = ()


LATENT_OPERATORS = ("lerp", "slerp", "regmean")
ALL_FIELDS = tuple(
    key for key in FlatRecipe.model_fields if key != "data"
)  # which weights alone take
MODELS = ("space", "host", "donors", "base", "donor_weights")
HOW = ("positions", "donor_stream", "accept")


def _of(recipe: Recipe, keys: Iterable[str]) -> dict[str, Any]:
    return {key: getattr(recipe, key) for key in keys}


def _where(size: Size) -> dict[str, Any]:
    """Device, dtype, and the batch size if one is given."""
    batch = {} if size.batch_size is None else {"batch_size": size.batch_size}
    return {"device": size.device, "dtype": size.dtype} | batch


def _length(size: Size) -> dict[str, Any]:
    return {} if size.max_new_tokens is None else {"max_new_tokens": size.max_new_tokens}


def with_own(operators: tuple[str, ...], recipe: Recipe) -> tuple[str, ...]:
    """The usual operators, and task_vector first if the recipe merges by it."""
    return ("task_vector", *operators) if recipe.operator == "task_vector" else operators


def one_alpha(recipe: Recipe) -> float:
    """The donors' weight that all merged blocks share; ValueError where they do not."""
    lambda_reg = recipe.operator_args.get("lambda_reg")
    if isinstance(lambda_reg, int | float):
        return alpha_from_lambda(lambda_reg)
    layers = recipe.layers
    alphas = set(layers.values()) if isinstance(layers, dict) else {recipe.alpha}
    (alpha, *others) = alphas
    if others:
        raise ValueError(
            f"layers={layers}: merges of whole models have one alpha, so blocks with an alpha each have "
            "no counterpart there"
        )
    if alpha is None:
        raise ValueError("alpha is missing: give the donors' weight, 0 to 1")
    return alpha


def _one_weight_a_donor(recipe: Recipe) -> None:
    if isinstance(recipe.donor_weights, dict):
        raise ValueError(
            f"donor_weights={recipe.donor_weights} by block; here every donor has one weight"
        )


def _comparison_config(recipe: Recipe, size: Size) -> comparison.ComparisonConfig:
    _one_weight_a_donor(recipe)
    given = _of(recipe, ("host", "donors", "base", "donor_weights", *HOW))
    given["operators"] = (
        *LATENT_OPERATORS,
        *with_own((), recipe),
    )  # the first gives the ends at alpha 0 and 1
    return comparison.ComparisonConfig(
        **given,
        layers=tuple(recipe.layers or ()),
        alpha=one_alpha(recipe),
        questions=size.questions,
        n_per_category=size.n_questions,
        seeds=tuple(range(size.n_seeds)),
        **_length(size),
        **_where(size),
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
        **_of(recipe, ALL_FIELDS),
        beside=(),  # the next experiment sets the spaces side by side
        n_prompts=size.n_prompts,
        **_where(size),
    )


def _similarity_draw(tables: Tables, config: similarity.SimilarityConfig) -> list[Figure]:
    """What a merge says is drawn by the next experiment, beside the other spaces."""
    drawn = similarity.draw(tables, tuple(config.layers or ()))
    return [one for one in drawn if one[0] != "output_divergence_by_space"]


def _similarity_print(tables: Tables) -> dict[str, pd.DataFrame]:
    table = tables["similarity"]
    rows = table[table.layer == table.layer.max()]
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
    _one_weight_a_donor(recipe)
    return layerwise.LayerwiseConfig(
        **_of(recipe, (*MODELS, *HOW)),
        operators=with_own(LATENT_OPERATORS, recipe),
        n_questions=max(1, size.n_questions // 8),  # for each of some thirty merges
        **_where(size),
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


def _curvature_config(recipe: Recipe, size: Size) -> curvature.CurvatureConfig:
    if recipe.operator == "task_vector":
        raise ValueError("operator='task_vector' leaves the segment that the bound is about")
    _one_weight_a_donor(recipe)
    given = _of(recipe, ("host", "donors", "donor_weights", *HOW))
    return curvature.CurvatureConfig(**given, **_where(size))


def _curvature_print(tables: Tables) -> dict[str, pd.DataFrame]:
    table = tables["curvature"]
    shown = table[table.statistic == "median"]
    columns = ["layer", "alpha", "metric"]
    wide = shown.pivot_table(index=columns[:2], columns="metric", values="value", dropna=False)
    return {"curvature_medians": wide.reset_index().rename_axis(columns=None)}


def _spaces_config(recipe: Recipe, size: Size) -> spaces.SpacesConfig:
    _one_weight_a_donor(recipe)
    return spaces.SpacesConfig(
        **_of(recipe, ("host", "donors", "base", "donor_weights", *HOW)),
        layers=tuple(recipe.layers or ()),
        operators=with_own(("lerp", "slerp"), recipe),
        n_prompts=size.n_prompts,
        **_where(size),
    )


def _tokens_config(recipe: Recipe, size: Size) -> tokens.TokensConfig:
    if recipe.alpha is None and not isinstance(recipe.layers, dict):
        one_alpha(recipe)  # there must be one
    given = _of(recipe, ALL_FIELDS) | _length(size)
    return tokens.TokensConfig(**given, device=size.device, dtype=size.dtype)


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
        keeps=(*MODELS, "layers", "alpha", *HOW),
        chooses=("operator", "operator_args"),
    ),
    "similarity": Experiment(
        title="Experiment B: where the merged stream lies",
        text="Both parents and the merge read the same prompts. Values at the last block.",
        configure=_similarity_config,
        run=partial(similarity.run, quiet=False),
        draw=_similarity_draw,
        print_tables=_similarity_print,
        findings=lambda tables: similarity.summary(tables).splitlines(),
        keeps=tuple(key for key in ALL_FIELDS if key != "alpha"),
        chooses=("alpha",),
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
        keeps=(*MODELS, "layers", *HOW),
        chooses=("alpha", "operator", "operator_args"),
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
        keeps=(*MODELS, *HOW),
        chooses=("layers", "alpha", "operator", "operator_args"),
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
        keeps=("space", "host", "donors", "donor_weights", *HOW),
        chooses=("base", "layers", "alpha", "operator", "operator_args"),
    ),
    "tokens": Experiment(
        title="One prompt, token by token",
        text="The merge answers a prompt; both parents then read the same text.",
        configure=_tokens_config,
        run=tokens.run,
        draw=lambda tables, config: tokens.draw(tables),
        print_tables=lambda tables: {},
        findings=lambda tables: [],
        keeps=ALL_FIELDS,
    ),
}
