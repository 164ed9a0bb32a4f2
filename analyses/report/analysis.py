"""What `python -m analyses.report` measures, draws and reports."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.curvature import analysis as curvature
from analyses.curvature.config import CurvatureConfig
from analyses.layerwise import analysis as layerwise
from analyses.layerwise.config import LayerwiseConfig
from analyses.layerwise.grid import default_layers
from analyses.report.config import ReportConfig
from analyses.report.page import curvature_tables, page
from analyses.running.command_line import (
    Figure,
    Tables,
    export_figures,
    progress,
    run_recorded,
)
from analyses.running.findings import Finding, rows_of
from analyses.running.options import OutputOptions
from analyses.running.recipe_words import own_alpha
from analyses.similarity import analysis as similarity
from figures import plot_accuracy_by_category, plot_accuracy_forest
from lm_merge.evaluation import accuracy_table, ask, question_set
from lm_merge.recipes import Recipe
from lm_merge.runs.record import Run
from lm_merge.scoring.compositions import compositions_of
from lm_merge.spaces.compose import compose_latents, system
from lm_merge.spaces.latents import LatentMerge
from lm_merge.zoo.scoring import Answer
from lm_merge.zoo.tasks import Question

N_PROMPTS = 8  # from which signals are taken


def run(config: ReportConfig, record: Run | None = None, *, quiet: bool = True) -> Tables:
    """Tables "answers", "accuracy", "spaces" (accuracy in every space), and those of the analyses of
    similarity, layers and curvature.
    """
    questions = question_set(config.n_questions, seed=config.seed)
    merge = compose_latents(config.recipe, device=config.device, dtype=config.dtype)
    answers = ask_all(merge, questions, config.alphas, quiet=quiet)
    spaces = accuracy_table(ask_spaces(config, questions, answers, quiet=quiet))
    return {
        "answers": answers_table(answers, config.n_questions, config.n_examples),
        "accuracy": accuracy_table(answers),
        "spaces": with_operator_and_space(spaces, config),
        **similarity.run(config, record, quiet=quiet, merge=merge),
        **grid_tables(config, merge.host.n_layers, quiet=quiet),
    }


def grid_tables(config: ReportConfig, n_layers: int, *, quiet: bool) -> Tables:
    """Small runs of the layerwise and the curvature analysis, on host and first donor.

    At every 5th block, the last, and those that the recipe merges at, one at a time.
    """
    own = config.recipe
    blocks = tuple(own.layers or ())
    pair = {
        "host": own.host,
        "donors": own.donors[:1],
        "operator": "lerp",
        "layers": {blocks[0]: 0.5},
    }
    shared: dict[str, Any] = {
        "recipe": Recipe.model_validate(pair | {"positions": own.positions, "accept": own.accept}),
        "layers": default_layers(n_layers, blocks),
        "n_texts": config.n_texts,
        "chat": config.chat,
        "device": config.device,
        "dtype": config.dtype,
        "seed": config.seed,
    }
    grid = layerwise.run(LayerwiseConfig(**shared, n_prompts=N_PROMPTS), quiet=quiet)
    bound = curvature.run(CurvatureConfig(**shared), quiet=quiet)
    return {
        "layerwise": grid["layerwise"],
        "signal_ranks": grid["correlations"],
        **{key if key == "curvature" else f"curvature_{key}": one for key, one in bound.items()},
    }


def ask_all(
    merge: LatentMerge, questions: list[Question], alphas: Sequence[float], *, quiet: bool
) -> dict[str, Sequence[Answer]]:
    """Answers of host, donors, and the recipe's merge, unchanged and at each alpha, by system name."""
    parents = {f"host {merge.host.name}": merge.host}
    parents |= {f"donor {donor.name}": donor for donor in merge.donors}
    answers: dict[str, Sequence[Answer]] = {}
    answers |= {name: ask(model, questions) for name, model in parents.items()}
    as_it_stands, merges = merge.alpha, compositions_of(merge, alphas)
    for alpha in progress(list(merges.at), "questions", quiet=quiet):
        merge.alpha = as_it_stands if alpha is merges.own else alpha
        answers[merged_name(alpha)] = ask(merge, questions)
    merge.alpha = as_it_stands
    return answers


def merged_name(alpha: float | None) -> str:
    """Name of the merge at an alpha; without one it has several."""
    return "merged" if alpha is None or math.isnan(alpha) else f"merged {alpha:g}"


def ask_spaces(
    config: ReportConfig,
    questions: list[Question],
    known: dict[str, Sequence[Answer]],
    *,
    quiet: bool,
) -> dict[str, Sequence[Answer]]:
    """Answers of the parents and of merges in every space, at the recipe's alpha.

    known: answers that need not be asked for again.
    """
    parents = (name for name in known if name.split()[0] in ("host", "donor"))
    answers = {name: known[name] for name in parents}
    answers[config.own_name] = known[merged_name(own_alpha(config.recipe))]
    for name, recipe in progress(list(config.other_recipes().items()), "spaces", quiet=quiet):
        composed = system(recipe, device=config.device, dtype=config.dtype)
        answers.setdefault(name, ask(composed, questions))
    return answers


def with_operator_and_space(accuracy: pd.DataFrame, config: ReportConfig) -> pd.DataFrame:
    """Columns "operator" and "space" by system; both empty for a model alone."""
    kinds = {config.own_name: (config.recipe.operator, "latents")}
    kinds |= {name: (one.operator, one.space) for name, one in config.other_recipes().items()}
    of_rows = [kinds.get(system, ("", "")) for system in accuracy.system]
    return accuracy.assign(
        operator=[operator for operator, _ in of_rows], space=[space for _, space in of_rows]
    )


def answers_table(
    answers: dict[str, Sequence[Answer]], n_per_category: int, n_examples: int
) -> pd.DataFrame:
    """The first questions of each category with every system's words; right answers are marked."""
    first = next(iter(answers.values()))
    shown = [i for i in range(len(first)) if i % n_per_category < n_examples]
    return pd.DataFrame(
        [
            {
                "category": first[i].question.category,
                "question": first[i].question.prompt,
                "answer": first[i].question.answer,
                "system": system,
                "reply": given[i].text,
                "right": "yes" if given[i].correct else "no",
            }
            for i in shown
            for system, given in answers.items()
        ]
    )


def draw(tables: Tables, config: ReportConfig) -> list[Figure]:
    """All figures of the report, each with the table it draws."""
    accuracy = tables["accuracy"]
    grid = {"layerwise": tables["layerwise"], "correlations": tables["signal_ranks"]}
    return [
        ("accuracy_by_category", plot_accuracy_by_category(accuracy), accuracy),
        ("accuracy_by_space", plot_accuracy_forest(tables["spaces"]), tables["spaces"]),
        *similarity.draw(tables, config),
        *layerwise.draw(grid),
        *curvature.draw(curvature_tables(tables)),
    ]


def findings(tables: Tables, config: ReportConfig) -> list[Finding]:
    """Rows of `summary.json`: accuracy of every system, then the findings of the similarity analysis.

    Keys: system, category, metric (accuracy: a share), value, low, high (95 %), n (questions); those
    of `analyses.similarity`.
    """
    accuracy = pd.concat([tables["accuracy"], tables["spaces"]]).drop_duplicates(
        ["system", "category"]
    )
    accuracy = accuracy.rename(columns={"accuracy_frac": "value"}).assign(metric="accuracy")
    own = rows_of(accuracy, ("system", "category", "metric"))
    return own + similarity.findings(tables, config)


summary = similarity.summary


def write(
    config: ReportConfig,
    given: dict[str, Any] | None = None,
    *,
    output: OutputOptions,
    quiet: bool = False,
) -> tuple[Path, Tables]:
    """Run (or find the finished run) and write `report.html` into its folder; gives page and tables."""
    folder, tables = run_recorded("report", config, given, output=output, quiet=quiet)
    figures = draw(tables, config)
    export_figures(folder / "figures", figures, output)
    path = folder / "report.html"
    path.write_text(page(tables, config, figures, folder), encoding="utf-8")
    return path, tables


def write_and_report(
    name: str, config: ReportConfig, given: dict[str, Any], output: OutputOptions
) -> None:
    """Write the report, and print its summary and where it is."""
    path, tables = write(config, given, output=output)
    sys.stdout.write(f"{summary(tables, config)}\nreport: {path}\n")
