"""What `python -m analyses.spaces` measures, draws and reports."""

import pandas as pd

from analyses.running.command_line import Figure, Tables
from analyses.running.findings import Finding, rows_of
from analyses.running.inputs import note_models
from analyses.running.text_choice import encoded_prompts
from analyses.similarity import analysis as similarity
from analyses.spaces.config import SpacesConfig
from figures import plot_output_divergence, plot_similarity_by_layer
from lm_merge.runs.record import Run
from lm_merge.scoring.compositions import compositions
from lm_merge.statistics.intervals import difference_interval

COMPARED = ("midness", "cka_biased_host_merged", "cka_debiased_host_merged")
# OpenReview ocEoHCrezd: ranges over operators, Qwen2.5-7B-Instruct + OpenThinker3-7B, 270 prompts
PUBLISHED = {
    "midness": {"latents": "0.77 to 0.80", "weights": "0.61 to 0.64"},
    "cka_biased_host_merged": {"latents": "0.83 to 0.89", "weights": "0.32 to 0.35"},
}


def run(config: SpacesConfig, record: Run | None = None, *, quiet: bool = True) -> Tables:
    """Tables "similarity" (as in analyses.similarity), "output" and "direction"."""
    found = []
    last_only = config.recipe.positions == "last"
    for recipe in config.recipes():
        merges = compositions(recipe, config.alphas, device=config.device, dtype=config.dtype)
        note_models(record, merges, seeds=(config.seed,))
        batches = encoded_prompts(merges.host, config)
        # a merge of full models has no positions: it is measured where the latent merge is
        found.append(similarity.tables_of(merges, batches, last_only=last_only, quiet=quiet))
    tables = {"similarity": pd.DataFrame()} | similarity.joined(found)
    return tables | {"direction": direction_table(tables["similarity"], config.shown_alpha)}


def direction_table(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Latents less weights at the last block, one row an operator and metric, next to the published.

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
    """The analysis's figures, each with the table it draws; similarity at one alpha."""
    shown = tables["similarity"]
    shown = shown.loc[shown.alpha == config.shown_alpha] if len(shown) else shown
    output = tables["output"]
    drawn = [("output_divergence_by_space", plot_output_divergence(output), output)]
    if len(shown):
        figure = plot_similarity_by_layer(
            shown, merged_layers=similarity.merged_blocks(config.recipe)
        )
        drawn.insert(0, ("similarity_by_space", figure, shown))
    return drawn


def findings(tables: Tables, config: SpacesConfig) -> list[Finding]:
    """Rows of `summary.json`: the table "direction", then the outputs.

    Keys: space (null: latents less weights, with the key direction), operator, alpha, layer (null: of
    the output), metric, value, low, high (95 %), n (tokens; cka_biased_*: texts; of a difference the
    smaller of both).
    """
    keys = ("space", "operator", "alpha", "layer", "metric")
    direction = tables["direction"].rename(columns={"difference": "value"})
    return rows_of(direction, (*keys, "direction")) + rows_of(tables["output"], keys)


def summary(tables: Tables, config: object = None) -> str:
    """One line an operator and metric: both spaces at the last block, and whether it is as published."""
    lines = []
    for row in tables["direction"].to_dict("records"):
        interval = f"{row['low']:+.3f} to {row['high']:+.3f}"
        if pd.isna(row["low"]):
            interval = "no interval from so few texts: raise n_prompts"
        lines.append(
            f"last block, alpha {row['alpha']:g}, {row['operator']}, {row['metric']}: latents "
            f"{row['latents']:.3f}, weights {row['weights']:.3f}, difference {row['difference']:+.3f} "
            f"({interval}): {row['direction']}"
        )
    return "\n".join(lines)
