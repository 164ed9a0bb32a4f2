"""Which block, how much of the donor, by which operator: `python -m analyses.layerwise`.

A grid of merges at one block each, on texts whose right continuation is given: loss, KL to both
parents, and where the merged stream ends between theirs; with `--n_questions` also accuracy by
generation. Host and donor run once for all merges. Beside the grid stand merges of the whole models,
in weights and in logits (`--beside '[weights:lerp, logits:soft]'`), which have no block. Experiment C
of the latent-merging paper (OpenReview ocEoHCrezd). Table "correlations" says how well signals that
need no answer (`lm_merge.scoring.signals`) rank the merges of the grid.

With one donor, or donor weights that sum to 1, regmean is lerp at alpha = 1 / (1 + lambda_reg): the
two are measured both and agree to rounding. Each block alone is a run of its own that is found again
(`--layers '[20]'`), so a grid over blocks resumes block by block.
"""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, NonNegativeInt, PositiveInt, computed_field, field_validator

from analyses.beside import ComparedRecipe
from analyses.compositions import Compositions, compositions
from analyses.running.command_line import (
    Figure,
    OutputOptions,
    Tables,
    analysis_main,
    one_line_errors,
    progress,
)
from analyses.running.inputs import fingerprints, note_models
from analyses.running.text_choice import batches, prompt_batches
from analyses.whole_merges import speak, wholes_of
from figures import plot_layerwise_heatmap, plot_layerwise_lines, plot_signal_ranks
from lm_merge.evaluation import ask, question_set, wilson_interval
from lm_merge.evaluation.verifiable import CanGenerate
from lm_merge.operators import get_operator, needs_base
from lm_merge.recipes import Recipe, Source
from lm_merge.runs.record import Run
from lm_merge.scoring.signals import SignalMeans, rank_correlations
from lm_merge.scoring.teacher_forced import CellScores, run_texts, where
from lm_merge.spaces.compose import compose
from lm_merge.spaces.latents import LatentMerge
from lm_merge.spaces.latents.latent_grid import GridCell, LatentGrid
from lm_merge.zoo.tasks import Question

EVERY = 5
USUAL_BESIDE = ("weights:lerp", "weights:slerp", "logits:soft")
COLUMNS = (
    *("layer", "alpha", "operator", "space"),
    *("metric", "value", "standard_error", "low", "high", "n"),
)
DRAWN = ("loss_answer", "loss", "kl_host", "kl_donor", "accuracy")


class LayerwiseConfig(ComparedRecipe):
    """A recipe, the grid that stands in for its blocks, operator and alpha, and the texts."""

    host: Source = Field(default="tiny-instruct", description="carries the forward pass")
    donors: tuple[Source, ...] = Field(
        default=("tiny-thinker",), description="give the other streams; KL is to the first"
    )
    layers: dict[int, float] | tuple[int, ...] = Field(
        default=(), description="blocks to merge at, one at a time; none: every 5th and the last"
    )
    operators: tuple[str, ...] = Field(
        default=("lerp", "slerp", "regmean"), min_length=1, description="operators to measure"
    )
    texts: Path | None = Field(
        default=None,
        description="text file, one text a line; None: bundled questions with their right answers",
    )
    n_texts: PositiveInt = Field(default=200, description="how many texts at most")
    n_questions: NonNegativeInt = Field(
        default=0, description="questions a category to generate answers to; 0: no generation"
    )
    n_prompts: NonNegativeInt = Field(
        default=16,
        description="texts without answers from which signals are taken, others than those measured "
        "where there are such; 0: no signals",
    )
    chat: bool = Field(default=True, description="put questions into the host's chat template")
    batch_size: PositiveInt = Field(default=16, description="texts a forward pass")
    at_once: PositiveInt = Field(default=16, description="merges that run as one batch at most")
    device: str | None = Field(default=None, description="torch device; None: the CPU")
    dtype: str | None = Field(default=None, description="torch dtype; None: the checkpoint's")
    seed: int = Field(default=0, description="of the bundled questions")

    @field_validator("space")
    @classmethod
    def _in_latents(cls, space: str) -> str:
        if space != "latents":
            raise ValueError(f"space={space!r}: this grid is over blocks; space must be 'latents'")
        return space

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of the files that go in, so that a run is found again only for the same."""
        return fingerprints(self, self.texts)


def grid_of(config: LayerwiseConfig, *, also: Sequence[int] = ()) -> LatentGrid:
    """Load the models and lay out the grid's merges.

    also: blocks beside the usual ones, where the configuration names none.
    """
    given = config.recipe_fields
    given["operator_args"] = {k: v for k, v in config.operator_args.items() if k != "lambda_reg"}
    with_base = [name for name in config.operators if needs_base(get_operator(name))]
    operator, *_ = [*with_base, *config.operators]  # where one needs the ancestor, it is loaded
    given |= {"layers": (0,), "alpha": config.alphas[0], "operator": operator}
    given["base"] = config.base if with_base else None
    merge = compose(Recipe(**given), device=config.device, dtype=config.dtype)
    assert isinstance(merge, LatentMerge)  # the space is checked above
    layers = tuple(config.layers) or default_layers(merge.host.n_layers, also)
    cells = tuple(
        GridCell(layer, operator, alpha)
        for layer in layers
        for operator in config.operators
        for alpha in config.alphas
    )
    return LatentGrid(merge, cells, at_once=config.at_once)


def default_layers(n_layers: int, also: Sequence[int] = ()) -> tuple[int, ...]:
    """Every 5th block from the first, the last, and those of `also`."""
    return tuple(sorted({*range(0, n_layers, EVERY), n_layers - 1, *also}))


def run(config: LayerwiseConfig, record: Run | None = None, *, quiet: bool = True) -> Tables:
    """Tables "layerwise" (layer, alpha, operator, space, metric, value, standard_error, low, high, n),
    "parents", and with signals "signals" and "correlations". Merges of whole models have no layer.
    """
    grid = grid_of(config)
    merge = grid.merge
    beside = [
        compositions(
            recipe,
            config.alphas,
            device=config.device,
            dtype=config.dtype,
            loaded=(merge.host, *merge.donors),
        )
        for recipe in config.recipes_beside(USUAL_BESIDE)
    ]
    note_models(record, merge, seeds=(config.seed,))
    scores = CellScores(grid.cells, [one for merges in beside for one in wholes_of(merges)])
    for texts in progress(batches(merge.host, config, n=config.n_texts), "texts", quiet=quiet):
        spoken = chain.from_iterable(speak(merges, texts) for merges in beside)
        scores.update(run_texts(grid, texts), texts, spoken)
    rows, parents = list(scores.rows()), list(scores.parent_rows())
    if config.n_questions:
        rows += accuracy_rows(grid, beside, config, quiet=quiet)
        questions = question_set(config.n_questions, seed=config.seed)
        for name, model in (("host", merge.host), ("donor", merge.donors[0])):
            parents.append({"system": name} | _accuracy(model, questions))
    table = pd.DataFrame(rows, columns=pd.Index(COLUMNS)).astype({"layer": "Int64"})
    tables = {"layerwise": table, "parents": pd.DataFrame(parents)}
    if config.n_prompts:
        prompts = prompt_batches(merge.host, config, n=config.n_prompts, after=config.n_texts)
        signals = SignalMeans(grid).measure(progress(prompts, "signals", quiet=quiet))
        tables["signals"] = signals
        tables["correlations"] = rank_correlations(signals, grid_rows(table))
    return tables


def grid_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of merges at one block."""
    rows = table.loc[table.layer.notna()].astype({"layer": int})
    assert isinstance(rows, pd.DataFrame)
    return rows


def accuracy_rows(
    grid: LatentGrid, beside: Sequence[Compositions], config: LayerwiseConfig, *, quiet: bool
) -> list[dict[str, Any]]:
    """Accuracy of each merge on generated answers: a share in [0, 1] with its Wilson interval."""
    questions = question_set(config.n_questions, seed=config.seed)
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
    for merges in beside:
        for key, alpha in wholes_of(merges).items():
            with merges.at[alpha]() as speaker:
                rows.append(where(key) | _accuracy(speaker, questions))
    return rows


def _accuracy(system: CanGenerate, questions: Sequence[Question]) -> dict[str, Any]:
    answers = ask(system, questions)
    n_right, n = sum(answer.correct for answer in answers), len(answers)
    low, high = wilson_interval(n_right, n)
    share = {"value": n_right / n, "standard_error": np.nan, "low": low, "high": high, "n": n}
    return {"metric": "accuracy"} | share


def draw(tables: Tables) -> list[Figure]:
    """The analysis's figures, each with the table it draws."""
    table = tables["layerwise"]
    figures = []
    for metric in (name for name in DRAWN if name in set(table.metric[table.value.notna()])):
        rows = table[table.metric == metric]
        heat, lines = plot_layerwise_heatmap(table, metric), plot_layerwise_lines(table, metric)
        figures += [(f"layerwise_{metric}", heat, rows), (f"layerwise_{metric}_lines", lines, rows)]
    if "correlations" in tables:
        ranks = tables["correlations"]
        figures.append(("signal_ranks", plot_signal_ranks(ranks), ranks))
    return figures


def summary(table: pd.DataFrame) -> str:
    """The best merge by each metric drawn: of the grid, and of each space beside it."""
    measured = table.loc[table.value.notna()]
    lines = []
    for metric in (name for name in DRAWN if name in set(measured.metric)):
        for _, rows in measured.loc[measured.metric == metric].groupby("space", sort=False):
            place = rows.value.idxmax() if metric == "accuracy" else rows.value.idxmin()
            best: Any = rows.loc[place]
            lines.append(
                f"{metric}: best {best.value:.3f} ({best.low:.3f} to {best.high:.3f}, n = {best.n}) "
                f"{_place(best)}, {best.operator}, alpha {best.alpha:g}"
            )
    return "\n".join(lines)


def _place(row: Any) -> str:
    return f"in {row.space}" if pd.isna(row.layer) else f"at block {row.layer}"


class LayerwiseOptions(LayerwiseConfig, OutputOptions):
    """The configuration and where results go."""


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure (or find the finished run), draw, save, say where."""
    analysis_main(
        "layerwise",
        LayerwiseOptions,
        LayerwiseConfig,
        argv,
        run=partial(run, quiet=False),
        draw=lambda tables, config: draw(tables),
        summary=lambda tables: summary(tables["layerwise"]),
        description=__doc__,
    )


if __name__ == "__main__":
    with one_line_errors("layerwise"):
        main()
