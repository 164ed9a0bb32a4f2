"""What `python -m analyses.layerwise` measures, draws and reports."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from analyses.layerwise.batch_size import text_batches
from analyses.layerwise.config import LayerwiseConfig
from analyses.layerwise.grid import full_merges, grid_of, with_own_cell
from analyses.layerwise.so_far import SoFar
from analyses.running.command_line import Figure, Tables, progress
from analyses.running.counted import counted
from analyses.running.findings import Finding, rows_of
from analyses.running.inputs import note_models
from analyses.running.recipe_words import own_alpha, recipe_words
from analyses.running.text_choice import prompt_batches
from figures import plot_layerwise_heatmap, plot_layerwise_lines, plot_signal_ranks
from lm_merge.evaluation import ask, question_set, wilson_interval
from lm_merge.evaluation.verifiable import CanGenerate
from lm_merge.operators import get_operator, needs_base
from lm_merge.recipes import Recipe
from lm_merge.runs.record import Run
from lm_merge.scoring.compositions import Compositions
from lm_merge.scoring.full_model_merges import full_model_merges, outputs
from lm_merge.scoring.signals import SignalMeans, rank_correlations
from lm_merge.scoring.teacher_forced import CellScores, run_texts, where
from lm_merge.spaces.compose import compose_latents
from lm_merge.spaces.latents import LatentMerge
from lm_merge.spaces.latents.latent_grid import GridCell, LatentGrid
from lm_merge.zoo.tasks import Question

COLUMNS = (
    *("layer", "alpha", "operator", "space"),
    *("metric", "value", "standard_error", "low", "high", "n"),
)
DRAWN = ("loss_answer", "loss", "kl_host", "kl_donor", "accuracy")


def run(config: LayerwiseConfig, record: Run | None = None, *, quiet: bool = True) -> Tables:
    """Tables "layerwise" (layer, alpha, operator, space, metric, value, standard_error, low, high, n),
    "parents", and with signals "signals" and "correlations", which are of the grid alone.

    A merge without one block of its own has no layer; one without a single alpha has none.
    """
    merge = compose_latents(config.recipe, device=config.device, dtype=config.dtype)
    grid = grid_of(config, merge)
    measured, fulls = with_own_cell(grid), full_merges(config, merge)
    note_models(record, merge, seeds=(config.seed,))
    scores = CellScores(
        measured.cells, [one for merges in fulls for one in full_model_merges(merges)]
    )
    measure_texts(scores, measured, fulls, config, record, quiet=quiet)
    rows, parents = list(scores.rows()), list(scores.parent_rows())
    if config.n_questions:
        questions = question_set(config.n_questions, seed=config.seed)
        rows += accuracy_rows(measured, fulls, questions, quiet=quiet)
        for name, model in (("host", merge.host), ("donor", merge.donors[0])):
            parents.append({"system": name} | _accuracy(model, questions))
    table = pd.DataFrame(rows, columns=pd.Index(COLUMNS)).astype({"layer": "Int64"})
    tables = {"layerwise": table, "parents": pd.DataFrame(parents)}
    if config.n_prompts:
        prompts = prompt_batches(merge.host, config, n=config.n_prompts, after=config.n_texts)
        signals = SignalMeans(grid).measure(progress(prompts, "signals", quiet=quiet))
        tables["signals"] = signals
        outcomes = of_cells(table, grid)
        tables["correlations"] = rank_correlations(signals, outcomes)
    return tables


def measure_texts(
    scores: CellScores,
    grid: LatentGrid,
    fulls: Sequence[Compositions],
    config: LayerwiseConfig,
    record: Run | None,
    *,
    quiet: bool,
) -> None:
    """Add every batch of texts; a run that is stopped keeps what it had measured (`SoFar`)."""
    parts, so_far = text_batches(grid, config), SoFar(record)
    cost = sum(_blocks_run(grid, grid.cells) * len(texts.tokens) for texts in parts)

    def table() -> pd.DataFrame:
        return pd.DataFrame(list(scores.rows()), columns=pd.Index(COLUMNS))

    n_done = 0
    with counted("texts", cost, quiet=quiet) as advance:
        try:
            for texts in parts:
                size = len(texts.tokens)
                scores.update(
                    run_texts(grid, texts),
                    texts,
                    chain.from_iterable(outputs(merges, texts) for merges in fulls),
                    after=lambda cells, size=size: advance(_blocks_run(grid, cells) * size),
                )
                n_done += 1
                so_far.write_if_due(table)
        except KeyboardInterrupt:
            if n_done:
                so_far.write(table())
            raise
    so_far.remove()


def _blocks_run(grid: LatentGrid, cells: Sequence[GridCell]) -> int:
    """Blocks that cells run after their merged one, and one more each for the read-out."""
    return sum(grid.merge.host.n_layers - cell.layer for cell in cells)


def of_cells(table: pd.DataFrame, grid: LatentGrid) -> pd.DataFrame:
    """The rows of the grid's merges."""
    rows = table.loc[table.layer.notna()].astype({"layer": int})
    cells = pd.DataFrame(grid.cells)
    return rows.merge(cells, on=list(cells.columns))


def accuracy_rows(
    grid: LatentGrid,
    fulls: Sequence[Compositions],
    questions: Sequence[Question],
    *,
    quiet: bool,
) -> list[dict[str, Any]]:
    """Accuracy of each merge on generated answers: a share in [0, 1] with its Wilson interval."""
    merge, rows = grid.merge, []
    for cell in progress(grid.cells, "questions", quiet=quiet):
        one = LatentMerge(
            merge.host,
            merge.donors,
            operator=cell.operator,
            layers=[cell.layer],
            alpha=cell.alpha,
            donor_weights=merge.donor_weights,
            base=merge.base if needs_base(get_operator(cell.operator)) else None,
            positions=merge.positions,
            accept=merge.accept,
            **merge.operator_args,
        )
        rows.append(where(cell) | _accuracy(one, questions))
    for merges in fulls:
        for key, alpha in full_model_merges(merges).items():
            with merges.at[alpha]() as model:
                rows.append(where(key) | _accuracy(model, questions))
    return rows


def _accuracy(system: CanGenerate, questions: Sequence[Question]) -> dict[str, Any]:
    answers = ask(system, questions)
    n_right, n = sum(answer.correct for answer in answers), len(answers)
    low, high = wilson_interval(n_right, n)
    share = {"value": n_right / n, "standard_error": np.nan, "low": low, "high": high, "n": n}
    return {"metric": "accuracy"} | share


def draw(tables: Tables, config: object = None) -> list[Figure]:
    """The analysis's figures, each with the table it draws."""
    table = tables["layerwise"]
    table = table.loc[table.layer.notna() | (table.space != "latents")]  # at one block, or in none
    figures = []
    for metric in (name for name in DRAWN if name in set(table.metric[table.value.notna()])):
        rows = table[table.metric == metric]
        heat, lines = plot_layerwise_heatmap(table, metric), plot_layerwise_lines(table, metric)
        figures += [(f"layerwise_{metric}", heat, rows), (f"layerwise_{metric}_lines", lines, rows)]
    if "correlations" in tables:
        ranks = tables["correlations"]
        figures.append(("signal_ranks", plot_signal_ranks(ranks), ranks))
    return figures


def findings(tables: Tables, config: LayerwiseConfig) -> list[Finding]:
    """Rows of `summary.json`: every merge measured, and both parents.

    Keys: system (merge, host, donor), space, operator, layer (null: no single block), alpha (null: no
    single one), metric (loss*: nats a token; kl_*: nats; accuracy: a share), value, low, high (95 %),
    n (tokens; accuracy: questions).
    """
    keys = ("system", "space", "operator", "layer", "alpha", "metric")
    merges = tables["layerwise"].assign(system="merge").astype({"layer": object})
    return rows_of(merges, keys) + rows_of(tables["parents"], keys)


def summary(tables: Tables, config: LayerwiseConfig) -> str:
    """The recipe's own merge by each metric drawn, then the best merge by each in each space."""
    table = tables["layerwise"]
    own = own_rows(table, config.recipe)
    own = own.loc[own.metric.isin(DRAWN)]
    values = [f"{one} {value:.3f}" for one, value in zip(own.metric, own.value, strict=True)]
    lines = [f"the recipe ({recipe_words(config.recipe)}): {', '.join(values)}"]
    measured = table.loc[table.value.notna()]
    for metric in (name for name in DRAWN if name in set(measured.metric)):
        for _, rows in measured.loc[measured.metric == metric].groupby("space", sort=False):
            place = rows.value.idxmax() if metric == "accuracy" else rows.value.idxmin()
            best: Any = rows.loc[place]
            lines.append(
                f"{metric}: best {best.value:.3f} ({best.low:.3f} to {best.high:.3f}, n = {best.n}) "
                f"{_place(best)}, {best.operator}, alpha {best.alpha:g}"
            )
    return "\n".join(lines)


def own_rows(table: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """The rows of the recipe's merge, unchanged."""
    alpha, blocks = own_alpha(recipe), tuple(recipe.layers or ())
    at_block = table.layer == blocks[0] if len(blocks) == 1 else table.layer.isna()
    at_alpha = table.alpha.isna() if alpha is None else table.alpha == alpha
    rows = table.loc[
        at_block & at_alpha & (table.space == "latents") & (table.operator == recipe.operator)
    ]
    assert isinstance(rows, pd.DataFrame)
    return rows


def _place(row: Any) -> str:
    return f"in {row.space}" if pd.isna(row.layer) else f"at block {row.layer}"
