"""What a merge does, on one page: `python -m analyses.report`.

One prompt answered by host, donor and merge; verifiable accuracy of the parents, of the merge at
several alphas and of merges in weights and logits; the similarity, layerwise and curvature analyses at
small size; all in one self-contained `report.html`. `python -m analyses.report --recipe FILE` does every
experiment of the paper instead (`analyses.paper`).
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field, PositiveInt, model_validator

from analyses import curvature, layerwise, similarity
from analyses.report_page import curvature_tables, page
from analyses.running.command_line import (
    EXPORT_FORMATS,
    Figure,
    OutputOptions,
    Tables,
    config_in,
    one_line_errors,
    parse_config,
    progress,
    run_recorded,
    save_figures,
)
from analyses.similarity import SimilarityConfig, middle
from figures import plot_accuracy_by_category, plot_accuracy_forest
from lm_merge.evaluation import accuracy_table, ask, question_set
from lm_merge.recipes import Recipe
from lm_merge.runs.record import Run
from lm_merge.spaces.compose import compose_latents, system
from lm_merge.spaces.latents import LatentMerge
from lm_merge.zoo.scoring import Answer
from lm_merge.zoo.tasks import Question

BUNDLED_PAIR = ("tiny-instruct", "tiny-thinker")
BOTH = ("tiny-thinker", "tiny-coder")
N_PROMPTS = 8  # from which signals are taken


class ReportConfig(SimilarityConfig):
    """What the similarity analysis takes, and how many questions to ask."""

    n_questions: PositiveInt = Field(default=50, description="held-out questions in each category")
    n_examples: PositiveInt = Field(default=1, description="answers shown of each category")
    n_texts: PositiveInt = Field(
        default=32, description="answered questions for the grid of merges and for the curvature"
    )
    other_spaces: bool = Field(
        default=True,
        description="ask also weight merges (each a temporary checkpoint) and logit ensembles",
    )

    @model_validator(mode="after")
    def _other_spaces_can_be_had(self) -> "ReportConfig":
        other_recipes(self)  # raises for what merges of whole models have no place for
        return self


class ReportOptions(ReportConfig, OutputOptions):
    """The configuration and where results go."""


def run(config: ReportConfig, record: Run | None = None, *, quiet: bool = True) -> Tables:
    """Tables "answers", "accuracy", "spaces" (accuracy in every space), and those of the analyses of
    similarity, layers and curvature.
    """
    questions = question_set(config.n_questions, seed=config.seed)
    merge = compose_latents(similarity.recipe_of(config), device=config.device, dtype=config.dtype)
    answers = ask_all(merge, questions, config.alphas, quiet=quiet)
    spaces = accuracy_table(ask_spaces(config, questions, answers, quiet=quiet))
    return {
        "answers": answers_table(answers, config.n_questions, config.n_examples),
        "accuracy": accuracy_table(answers),
        "spaces": with_operator_and_space(spaces, config),
        **similarity.run(config_in(config, SimilarityConfig), record, quiet=quiet, merge=merge),
        **grid_tables(config, merge.host.n_layers, quiet=quiet),
    }


def grid_tables(config: ReportConfig, n_layers: int, *, quiet: bool) -> Tables:
    """Small runs of the layerwise and the curvature analysis, on host and first donor.

    At every 5th block, the last, and those that the report merges at.
    """
    pair = {
        "layers": layerwise.default_layers(n_layers, tuple(config.layers or ())),
        "host": config.host,
        "donors": config.donors[:1],
        "positions": config.positions,
        "accept": config.accept,
        "n_texts": config.n_texts,
        "chat": config.chat,
        "device": config.device,
        "dtype": config.dtype,
        "seed": config.seed,
    }
    grid = layerwise.run(layerwise.LayerwiseConfig(**pair, n_prompts=N_PROMPTS), quiet=quiet)
    bound = curvature.run(curvature.CurvatureConfig(**pair), quiet=quiet)
    return {
        "layerwise": grid["layerwise"],
        "signal_ranks": grid["correlations"],
        **{key if key == "curvature" else f"curvature_{key}": one for key, one in bound.items()},
    }


def ask_all(
    merge: LatentMerge, questions: list[Question], alphas: Sequence[float], *, quiet: bool
) -> dict[str, Sequence[Answer]]:
    """Answers of host, donor, and the merge at each alpha, by system name."""
    systems = {f"host {merge.host.name}": (merge.host, None)}
    systems |= {f"donor {donor.name}": (donor, None) for donor in merge.donors}
    systems |= {f"merged {alpha:g}": (merge, alpha) for alpha in alphas}
    answers = {}
    for name, (speaker, alpha) in progress(list(systems.items()), "questions", quiet=quiet):
        if alpha is not None:
            merge.alpha = alpha
        answers[name] = ask(speaker, questions)
    return answers


def ask_spaces(
    config: ReportConfig,
    questions: list[Question],
    known: dict[str, Sequence[Answer]],
    *,
    quiet: bool,
) -> dict[str, Sequence[Answer]]:
    """Answers of the parents and of merges in every space, at the middle alpha.

    known: answers that need not be asked for again.
    """
    alpha = middle(config.alphas)
    parents = (name for name in known if name.split()[0] in ("host", "donor"))
    answers = {name: known[name] for name in parents}
    answers[f"latents {config.operator} {alpha:g}"] = known[f"merged {alpha:g}"]
    for name, recipe in progress(list(other_recipes(config).items()), "spaces", quiet=quiet):
        speaker = system(recipe, device=config.device, dtype=config.dtype)
        answers.setdefault(name, ask(speaker, questions))
    return answers


def with_operator_and_space(accuracy: pd.DataFrame, config: ReportConfig) -> pd.DataFrame:
    """Columns "operator" and "space" by system; both empty for a model alone."""
    alpha = middle(config.alphas)
    kinds = {f"latents {config.operator} {alpha:g}": (config.operator, "latents")}
    kinds |= {name: (one.operator, one.space) for name, one in other_recipes(config).items()}
    of_rows = [kinds.get(system, ("", "")) for system in accuracy.system]
    return accuracy.assign(
        operator=[operator for operator, _ in of_rows], space=[space for _, space in of_rows]
    )


def other_recipes(config: ReportConfig) -> dict[str, Recipe]:
    """Merges of the pair in every space; for the bundled pair also of it and the coder, in weights."""
    if not config.other_spaces:
        return {}
    alpha = middle(config.alphas)
    pair: dict[str, Any] = {
        "host": config.host,
        "donors": config.donors,
        "donor_weights": config.donor_weights,
        "alpha": alpha,
    }
    accept = {"accept": config.accept}
    of_latents = accept | {
        "layers": tuple(config.layers or ()),
        "positions": config.positions,
        "donor_stream": config.donor_stream,
    }
    recipes = {
        f"{space} {operator} {alpha:g}": Recipe.model_validate(
            {"space": space, "operator": operator, **pair, **more}
        )
        for space, operator, more in (
            ("latents", "lerp", of_latents),
            ("latents", "slerp", of_latents),
            ("weights", "lerp", {}),
            ("weights", "slerp", {}),
            ("logits", "soft", accept),
            ("logits", "mean", accept),
        )
    }
    recipes.pop(f"latents {config.operator} {alpha:g}", None)  # asked at every alpha already
    if (config.host, *config.donors) == BUNDLED_PAIR:
        trio: dict[str, Any] = {"host": BUNDLED_PAIR[0], "base": BUNDLED_PAIR[0], "donors": BOTH}
        mean = Recipe(space="weights", operator="task_arithmetic", alpha=1.0, **trio)
        ties = Recipe(space="weights", operator="ties", operator_args={"density": 0.5}, **trio)
        recipes |= {"weights task_arithmetic, trio": mean, "weights ties, trio": ties}
    return recipes


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
    return [
        ("accuracy_by_category", plot_accuracy_by_category(accuracy), accuracy),
        ("accuracy_by_space", plot_accuracy_forest(tables["spaces"]), tables["spaces"]),
        *similarity.draw(tables, tuple(config.layers or ())),
        *layerwise.draw({"layerwise": tables["layerwise"], "correlations": tables["signal_ranks"]}),
        *curvature.draw(curvature_tables(tables)),
    ]


def write(options: ReportOptions, given: dict, *, quiet: bool = False) -> tuple[Path, Tables]:
    """Run (or find the finished run) and write `report.html` into its folder; gives page and tables."""
    config = config_in(options, ReportConfig)
    folder, tables = run_recorded(
        "report", config, given, output=options, run=partial(run, quiet=quiet)
    )
    figures = draw(tables, config)
    save_figures(folder / "figures", figures, ("html",))
    if options.export is not None:
        save_figures(options.export, figures, EXPORT_FORMATS, width_in=options.width_in)
    path = folder / "report.html"
    path.write_text(page(tables, config, figures, folder), encoding="utf-8")
    return path, tables


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: write the report and say where it lies; with --recipe, the whole paper."""
    words = sys.argv[1:] if argv is None else list(argv)
    if any(word.split("=")[0] == "--recipe" for word in words):
        from analyses import paper

        return paper.main(words)
    options, given = parse_config(
        ReportOptions, argv, prog="python -m analyses.report", description=__doc__ or ""
    )
    path, tables = write(options, given)
    sys.stdout.write(f"{similarity.summary(tables)}\nreport: {path}\n")


if __name__ == "__main__":
    with one_line_errors("report"):
        main()
