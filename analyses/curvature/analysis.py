"""What `python -m analyses.curvature` measures, draws and reports."""

import pandas as pd
from jaxtyping import Bool
from torch import Tensor

from analyses.curvature.config import CurvatureConfig
from analyses.curvature.summary_table import gap_rank_correlations, summary_table
from analyses.layerwise.grid import default_layers
from analyses.running.command_line import Figure, Tables, progress
from analyses.running.findings import Finding, rows_of
from analyses.running.inputs import note_models
from analyses.running.text_choice import batches
from figures import (
    plot_curvature_by_layer,
    plot_curvature_by_token,
    plot_gap_and_bound,
    plot_tightness,
)
from lm_merge.runs.record import Run
from lm_merge.scoring.texts import Texts, words_of
from lm_merge.scoring.token_curvature import TokenCurvature
from lm_merge.spaces.compose import compose_latents
from lm_merge.spaces.latents import LatentMerge


def run(
    config: CurvatureConfig,
    record: Run | None = None,
    *,
    quiet: bool = True,
    merge: LatentMerge | None = None,
) -> Tables:
    """Tables "curvature" (`summary_table`), "correlations", "tokens" (each scored token, block and
    alpha: `TokenCurvature.measure`) and "strip" (the same for every token of the first text, with the
    token's words).

    merge: the recipe's merge, where the caller has composed it already.
    """
    if merge is None:
        merge = compose_latents(config.recipe, device=config.device, dtype=config.dtype)
    host = merge.host
    layers = sorted({*(config.layers or default_layers(host.n_layers)), *merge.layers})
    meter = TokenCurvature(merge, layers, config.all_alphas, config.n_points)
    notes = [meter.no_closed_form] if meter.no_closed_form else []
    note_models(record, merge, seeds=(config.seed,), notes=notes)
    drawn = batches(host, config, n=config.n_texts)
    frames, n_texts = [], 0
    for texts in progress(drawn, "curvature", quiet=quiet):
        frames.append(meter.measure(texts, scored_columns(texts), n_texts))
        n_texts += len(texts.tokens)
    tokens = pd.concat(frames, ignore_index=True)
    tokens = tokens.assign(operator=config.recipe.operator, space="latents")
    return {
        "curvature": summary_table(tokens),
        "correlations": gap_rank_correlations(tokens),
        "tokens": tokens,
        "strip": strip(meter, drawn[0]).assign(operator=config.recipe.operator, space="latents"),
    }


def scored_columns(texts: Texts) -> Bool[Tensor, "batch pos"]:
    """Columns that predict a token of the right answer; all that predict one, where none is given."""
    answers = texts.answer.roll(-1, dims=1) & texts.predicts
    return answers if bool(answers.any()) else texts.predicts


def strip(meter: TokenCurvature, texts: Texts) -> pd.DataFrame:
    """Every token of the first text of a batch: what `TokenCurvature.measure` gives, and its words."""
    n_columns = int(texts.attention_mask[0].sum())
    parts = (texts.tokens, texts.attention_mask, texts.answer)
    tokens, mask, answer = (part[:1, :n_columns] for part in parts)
    first = Texts(tokens, mask, answer, texts.prompt_end[:1])
    table = meter.measure(first, first.predicts)
    words = words_of(meter.merge.host, first.tokens[0].tolist())
    return table.assign(token=[words[position] for position in table.position])


def draw(tables: Tables, config: object = None) -> list[Figure]:
    """The analysis's figures, each with the table it draws."""
    table, tokens = tables["curvature"], tables["tokens"]
    return [
        ("curvature_by_layer", plot_curvature_by_layer(table), table),
        ("gap_and_bound", plot_gap_and_bound(tokens), tokens),
        ("tightness", plot_tightness(tokens), tokens),
        ("curvature_by_token", plot_curvature_by_token(tables["strip"]), tables["strip"]),
    ]


def findings(tables: Tables, config: CurvatureConfig) -> list[Finding]:
    """Rows of `summary.json`: the table "curvature", then the rank correlations of bound and gap.

    Keys: layer, alpha (null: does not depend on it), operator, space, metric (as in `summary_table`;
    spearman: of the correlations), statistic (mean, median, max, pooled, share; of the correlations
    what they are over), value, low, high (95 %; null where there is none), n (tokens; for blocks and
    alphas their number).
    """
    keys = ("layer", "alpha", "operator", "space", "metric", "statistic")
    ranks = tables["correlations"].rename(columns={"over": "statistic", "spearman": "value"})
    ranks = ranks.assign(metric="spearman", operator=config.recipe.operator, space="latents")
    return rows_of(tables["curvature"], keys) + rows_of(ranks, keys)


def summary(tables: Tables, config: object = None) -> str:
    """Curvature and tightness at the last block measured, whether the bound held, rank correlation."""
    table = tables["curvature"]
    last = table.query("layer == layer.max()")
    held = pd.Series(table.query("metric == 'holds_frac'")["value"]).dropna()
    if held.empty:
        return (
            f"blocks {', '.join(map(str, sorted(set(table.layer))))}: no token has a bound, for host "
            "and donor have the same streams wherever they would be merged"
        )
    alpha = sorted(tables["tokens"].alpha.unique())[tables["tokens"].alpha.nunique() // 2]

    def value(metric: str, statistic: str, rows: pd.DataFrame) -> float:
        found = rows.query("metric == @metric and statistic == @statistic")
        return float(found["value"].iloc[0])

    at_alpha = last.query("alpha == @alpha")
    ranks = tables["correlations"].set_index("over")
    return (
        f"block {table.layer.max()}: K_g median {value('k_g', 'median', last):.3g}, mean "
        f"{value('k_g', 'mean', last):.3g} nats per squared norm; alpha {alpha:g}: mean gap "
        f"{value('gap_nats', 'mean', at_alpha):.3f} nats (below 0 the merge gains) under a bound of "
        f"{value('bound_nats', 'mean', at_alpha):.3f}, tightness median "
        f"{value('tightness', 'median', at_alpha):.2f}, largest "
        f"{value('tightness', 'max', at_alpha):.2f}; the bound holds on {_share(held)} "
        f"at every block and alpha; rank correlation of bound and gap over blocks "
        f"and alphas {ranks.spearman['blocks and alphas']:.2f}"
    )


def _share(held: pd.Series) -> str:
    least = min(held.tolist())
    return "every token" if least == 1 else f"at least {100 * least:.1f} % of tokens"
