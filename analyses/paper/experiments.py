"""The experiments of the paper: how each is set up from a recipe, and what of it is printed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import BaseModel

from analyses.comparison.config import ComparisonConfig
from analyses.curvature.config import CurvatureConfig
from analyses.layerwise.config import LayerwiseConfig
from analyses.paper.config import PaperConfig
from analyses.running.command_line import Tables
from analyses.running.measured import one_weight_a_donor
from analyses.running.recipe_words import block_alphas
from analyses.similarity.config import SimilarityConfig
from analyses.spaces.config import SpacesConfig
from analyses.tokens.config import TokensConfig
from figures import interval_table
from lm_merge.recipes import Recipe

ALPHAS = (0.25, 0.5, 0.75)
FIRST_BLOCK = {"layers": {0: 0.5}, "alpha": None}  # in every grid over blocks, which start at 0
LATENT_OPERATORS = ("lerp", "slerp", "regmean")


@dataclass(frozen=True)
class Experiment:
    """One analysis as part of the paper.

    configure: raises ValueError for a recipe that the experiment would have to change in more than the
    fields that it `chooses` itself, as its text says. not_drawn: figures that another one draws.
    """

    title: str
    text: str
    configure: Callable[[PaperConfig], BaseModel]
    print_tables: Callable[[Tables], dict[str, pd.DataFrame]]  # name -> table, set for print
    chooses: tuple[str, ...] = ()
    not_drawn: tuple[str, ...] = ()


def _where(config: PaperConfig) -> dict[str, Any]:
    """Device, dtype, and the batch size if one is given."""
    batch = {} if config.batch_size is None else {"batch_size": config.batch_size}
    return {"device": config.device, "dtype": config.dtype} | batch


def _length(config: PaperConfig) -> dict[str, Any]:
    return {} if config.max_new_tokens is None else {"max_new_tokens": config.max_new_tokens}


def _at_first_block(recipe: Recipe, operator: str) -> Recipe:
    """A merge of the same models at block 0: what grids over blocks and operators start from."""
    given = {**FIRST_BLOCK, "operator": operator, "operator_args": {}}
    return recipe.with_fields(**given)


def _comparison(config: PaperConfig) -> ComparisonConfig:
    return ComparisonConfig(
        recipe=config.recipe,
        operators=LATENT_OPERATORS,  # the first gives the ends at alpha 0 and 1
        questions=config.questions,
        n_per_category=config.n_questions,
        seeds=tuple(range(config.n_seeds)),
        **_length(config),
        **_where(config),
    )


def _similarity(config: PaperConfig) -> SimilarityConfig:
    return SimilarityConfig(
        recipe=config.recipe,
        alphas=ALPHAS,
        compare_with=(),  # the next experiment compares the spaces
        n_prompts=config.n_prompts,
        **_where(config),
    )


def _spaces(config: PaperConfig) -> SpacesConfig:
    return SpacesConfig(
        recipe=config.recipe, alphas=ALPHAS, n_prompts=config.n_prompts, **_where(config)
    )


def _layerwise(config: PaperConfig) -> LayerwiseConfig:
    own = config.recipe.operator
    by_base = own == "task_vector"
    return LayerwiseConfig(
        recipe=_at_first_block(config.recipe, own if by_base else "lerp"),
        alphas=ALPHAS,
        operators=(own, *LATENT_OPERATORS) if by_base else LATENT_OPERATORS,
        n_questions=max(1, config.n_questions // 8),  # for each of some thirty merges
        **_where(config),
    )


def _curvature(config: PaperConfig) -> CurvatureConfig:
    if config.recipe.operator == "task_vector":
        raise ValueError("operator='task_vector' leaves the segment that the bound is about")
    recipe = _at_first_block(one_weight_a_donor(config.recipe), "lerp")
    return CurvatureConfig(recipe=recipe, alphas=ALPHAS, **_where(config))


def _tokens(config: PaperConfig) -> TokensConfig:
    block_alphas(config.recipe)  # there must be some
    given: dict[str, Any] = {"device": config.device, "dtype": config.dtype}
    given |= _length(config)
    return TokensConfig(recipe=config.recipe, **given)


def _comparison_print(tables: Tables) -> dict[str, pd.DataFrame]:
    percent = {"digits": 1, "scale": 100}
    accuracy = _spread(tables["accuracy"], ["system"], "category", value="accuracy_frac", **percent)
    rates = _spread(
        tables["win_rates"], ["system", "opponent"], "category", value="win_rate", **percent
    )
    return {"accuracy": accuracy, "win_rates": rates}


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


def _curvature_print(tables: Tables) -> dict[str, pd.DataFrame]:
    table = tables["curvature"]
    shown = table[table.statistic == "median"]
    columns = ["layer", "alpha", "metric"]
    wide = shown.pivot_table(index=columns[:2], columns="metric", values="value", dropna=False)
    return {"curvature_medians": wide.reset_index().rename_axis(columns=None)}


EXPERIMENTS: dict[str, Experiment] = {
    "comparison": Experiment(
        title="Experiment A: latent, weight and logit merges on the same questions",
        text="Verifiable accuracy in percent with 95 % intervals, and win rates by the answer key: a "
        "win is a right answer where the other system's is wrong. Intervals count distinct questions.",
        configure=_comparison,
        print_tables=_comparison_print,
    ),
    "similarity": Experiment(
        title="Experiment B: where the merged stream lies",
        text="Both parents and the merge read the same prompts. Values at the last block.",
        configure=_similarity,
        print_tables=_similarity_print,
        not_drawn=("output_divergence_by_space",),  # the next experiment draws it
    ),
    "spaces": Experiment(
        title="Experiment B: latents against weights",
        text="The same pair merged in latents, weights and logits. The table says whether latents lie "
        "nearer the midpoint and nearer the host than weights do, as was published for 7B models.",
        configure=_spaces,
        print_tables=lambda tables: {"direction": tables["direction"]},
    ),
    "layerwise": Experiment(
        title="Experiment C: which block, how much, by which operator",
        text="Merges at one block each. Loss in nats on the right answers, KL to the host in nats, "
        "and accuracy (a share) by generation, with 95 % intervals. Signals that need no answer are "
        "ranked against them. With one donor regmean is lerp at alpha = 1 / (1 + lambda_reg).",
        configure=_layerwise,
        print_tables=_layerwise_print,
        chooses=("layers", "alpha", "operator", "operator_args"),
    ),
    "curvature": Experiment(
        title="Curvature: how much a merge can cost, and does",
        text="K_g is the largest negative curvature of a token's loss along the segment from host to "
        "donor, per squared norm; the gap is its loss above the line between the ends, in nats.",
        configure=_curvature,
        print_tables=_curvature_print,
        chooses=("layers", "alpha", "operator", "operator_args"),
    ),
    "tokens": Experiment(
        title="One prompt, token by token",
        text="The merge answers a prompt; both parents then read the same text.",
        configure=_tokens,
        print_tables=lambda tables: {},
    ),
}
