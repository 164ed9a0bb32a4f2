"""What `python -m analyses.similarity` measures, draws and reports."""

import math
from collections.abc import Sequence
from functools import partial

import pandas as pd
from torch import Tensor

from analyses.running.command_line import Figure, Tables, progress
from analyses.running.findings import Finding, rows_of
from analyses.running.inputs import note_models
from analyses.running.recipe_words import own_alpha
from analyses.running.text_choice import encoded_prompts
from analyses.similarity.config import SimilarityConfig
from analyses.similarity.encoders import encoder_tables, of_encoders
from analyses.similarity.streams import MeanPaths, StreamComparison, merged_name
from figures import (
    plot_arc_ratio_by_alpha,
    plot_layers_by_alpha,
    plot_output_divergence,
    plot_residual_paths,
    plot_residual_paths_3d,
    plot_similarity_by_layer,
)
from lm_merge.generation import EncodedPrompts
from lm_merge.models import HookedLM
from lm_merge.recipes import Recipe
from lm_merge.runs.record import Run
from lm_merge.scoring.compositions import Compositions, compositions, compositions_of
from lm_merge.scoring.output_divergence import output_table
from lm_merge.sites import record_resid_post
from lm_merge.spaces.latents import LatentMerge
from lm_merge.spaces.latents.merged_positions import last_real


def run(
    config: SimilarityConfig,
    record: Run | None = None,
    *,
    quiet: bool = True,
    merge: LatentMerge | None = None,
) -> Tables:
    """Tables "similarity" (layer, alpha, operator, space, metric, value, standard_error, low, high,
    n), "output" (as in `output_table`), and "paths" of the recipe's own merge.

    alpha is NaN for a recipe that has no single one. merge: the recipe's merge, where the caller has
    composed it already. Sources with task "encoding" or "classification" are compared by their bodies,
    without "output" (`encoder_tables`).
    """
    if of_encoders(config.recipe):
        return encoder_tables(config, record, quiet=quiet)
    load = partial(compositions, device=config.device, dtype=config.dtype)
    if merge is None:
        own = load(config.recipe, config.alphas)
    else:
        own = compositions_of(merge, config.alphas)
    note_models(record, own, seeds=(config.seed,))
    batches = encoded_prompts(own.host, config)
    last_only = config.recipe.space == "latents" and config.recipe.positions == "last"
    tables = tables_of(own, batches, last_only=last_only, quiet=quiet)
    found = [tables]
    for recipe in config.compared_recipes():
        merges = load(recipe, config.alphas, loaded=(own.host, own.donor))
        found.append(tables_of(merges, batches, last_only=last_only, quiet=quiet))
    return tables | joined(found)


def tables_of(
    merges: Compositions,
    batches: Sequence[EncodedPrompts],
    *,
    last_only: bool = False,
    quiet: bool = True,
) -> Tables:
    """Table "output" for the merges of one recipe; those of `measure` if there is a merged stream."""
    streams = measure(merges, batches, last_only, quiet=quiet) if merges.has_stream else {}
    return streams | {"output": output_table(merges, batches)}


def joined(found: Sequence[Tables]) -> Tables:
    """Tables "similarity" and "output" of several recipes as one each; absent where none has it."""
    return {
        name: pd.concat([tables[name] for tables in found if name in tables], ignore_index=True)
        for name in ("similarity", "output")
        if any(name in tables for tables in found)
    }


def measure(
    merges: Compositions, batches: Sequence[EncodedPrompts], last_only: bool, *, quiet: bool = True
) -> Tables:
    """Tables "similarity" and "paths" for the merges of one recipe that has a merged stream.

    last_only: whether only the last token of each text is measured.
    """
    host, recipe = merges.host, merges.recipe
    comparison = StreamComparison(host.n_layers, tuple(merges.at))
    paths = MeanPaths()
    for batch in progress(batches, f"similarity, {recipe.space} {recipe.operator}", quiet=quiet):
        assert batch.attention_mask is not None  # texts always come with one
        mask = batch.attention_mask
        tokens = last_real(mask, mask.bool()) if last_only else mask.bool()
        streams = _streams(merges, batch.input_ids, mask)
        comparison.update(streams, tokens)
        for name, states in streams.items():
            paths.update(name, states, tokens)
        del streams  # before the next batch's are recorded
    similarity = pd.DataFrame(list(comparison.rows()))
    similarity = similarity.assign(operator=recipe.operator, space=recipe.space)
    return {"similarity": similarity, "paths": paths.table()}


def _streams(merges: Compositions, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """The streams of host, donor and each merge on one batch, by name."""
    record = partial(_record, tokens=tokens, mask=mask)
    streams = {"host": record(merges.host), "donor": record(merges.donor)}
    for alpha, entered in merges.at.items():
        with entered() as model:
            streams[merged_name(alpha)] = record(model)
    return streams


def _record(model: HookedLM, tokens: Tensor, mask: Tensor) -> Tensor:
    """All blocks' states in the model's dtype, in the memory of the CPU: a GPU holds one stream."""
    return record_resid_post(model, tokens, mask).cpu()


def draw(tables: Tables, config: SimilarityConfig) -> list[Figure]:
    """The analysis's figures, each with the table it draws; several merges at the recipe's alpha."""
    figures: list[Figure] = []
    blocks = merged_blocks(config.recipe)
    if "similarity" in tables:
        similarity = tables["similarity"]
        own = of_first_merge(similarity)
        figures.append(("similarity_by_layer", plot_similarity_by_layer(own, blocks), own))
        by_alpha = own.loc[own.alpha.notna()]
        if len(by_alpha):
            figures += [
                ("arc_ratio_by_alpha", plot_arc_ratio_by_alpha(by_alpha), by_alpha),
                ("midness_by_layer", plot_layers_by_alpha(by_alpha, "midness"), by_alpha),
            ]
        if len(own) < len(similarity):
            shown = at_own_alpha(similarity, config.recipe)
            figure = plot_similarity_by_layer(shown, blocks)
            figures.append(("similarity_by_space", figure, shown))
    if "paths" in tables:
        paths = tables["paths"]
        figures += [
            ("residual_paths", plot_residual_paths(paths), paths),
            ("residual_paths_3d", plot_residual_paths_3d(paths), paths),
        ]
    if "output" not in tables:  # of encoders
        return figures
    output = tables["output"]
    return [*figures, ("output_divergence_by_space", plot_output_divergence(output), output)]


def merged_blocks(recipe: Recipe) -> tuple[int, ...]:
    """The blocks at which a recipe merges; none in other spaces than latents."""
    return tuple(recipe.layers or ())


def of_first_merge(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the recipe's own space and operator, which come first."""
    first = table.iloc[0]
    own = table.loc[(table.space == first.space) & (table.operator == first.operator)]
    assert isinstance(own, pd.DataFrame)
    return own


def at_own_alpha(table: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """The rows at the recipe's alpha; of a merge that has none there, those at the middle of its own."""
    alpha = own_alpha(recipe)
    parts = []
    for _, rows in table.groupby(["space", "operator"], sort=False):
        if alpha is None:
            found = rows.loc[rows.alpha.isna()]
        else:
            found = rows.loc[rows.alpha == alpha]
        parts.append(found if len(found) else rows.loc[rows.alpha == middle(rows.alpha.unique())])
    return pd.concat(parts)


def middle(alphas: Sequence[float]) -> float:
    """The middle one of the alphas in rising order."""
    return sorted(alphas)[len(alphas) // 2]


def findings(tables: Tables, config: SimilarityConfig) -> list[Finding]:
    """Rows of `summary.json`: each merge's stream at the last block and its next-token distributions.

    Keys: space, operator, alpha (null: the recipe has no single one), layer (null: of the output),
    metric (midness, arc_ratio, arc_deviation_rad, cka_*; kl_*, js_* in nats), value, low, high
    (95 %), n (tokens; cka_biased_*: texts).
    """
    found = []
    if "similarity" in tables:
        similarity = tables["similarity"]
        found.append(similarity.loc[similarity.layer == similarity.layer.max()])
    found += [tables["output"]] if "output" in tables else []
    return rows_of(pd.concat(found), ("space", "operator", "alpha", "layer", "metric"))


def summary(tables: Tables, config: SimilarityConfig) -> str:
    """A line a merge at the recipe's alpha: the stream at the last block, and the output."""
    keys = ["space", "operator", "metric"]
    shown = at_own_alpha(tables["output" if "output" in tables else "similarity"], config.recipe)
    output = shown.set_index(keys).value
    streams = pd.Series(dtype=float)
    if "similarity" in tables:
        similarity = at_own_alpha(tables["similarity"], config.recipe)
        streams = similarity.query("layer == layer.max()").set_index(keys).value
    lines = []
    merges = shown[["space", "operator", "alpha"]].drop_duplicates()
    for space, operator, alpha in merges.itertuples(index=False):
        amount = "its own alphas" if math.isnan(alpha) else f"alpha {alpha:g}"
        parts = []
        if (space, operator, "midness") in streams.index:
            value = streams[space, operator]
            parts.append(
                f"midness {value['midness']:.3f}, arc ratio {value['arc_ratio']:.3f}, debiased CKA "
                f"host-merged {value['cka_debiased_host_merged']:.3f}, donor-merged "
                f"{value['cka_debiased_donor_merged']:.3f} at the last block"
            )
        if "output" in tables:
            parts.append(
                f"Jensen-Shannon divergence from the host {output[space, operator, 'js_host']:.3f}, "
                f"from the donor {output[space, operator, 'js_donor']:.3f} nats"
            )
        lines.append(f"{space} {operator}, {amount}: {'; '.join(parts)}")
    return "\n".join(lines)
