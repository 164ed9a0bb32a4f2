"""What a merge does, on one page: `python -m analyses.report`.

One prompt answered by host, donor and merge; verifiable accuracy of the parents and of the merge at
several alphas; the similarity analysis; all in one self-contained `report.html`.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from pydantic import Field, PositiveInt

from analyses import similarity
from analyses.command_line import (
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
from analyses.similarity import SimilarityConfig
from figures import Section, plot_accuracy_by_category, render_page
from lm_merge.evaluation import accuracy_table, ask, question_set
from lm_merge.records import Run
from lm_merge.spaces import LatentMerge, compose
from lm_merge.zoo.scoring import Answer
from lm_merge.zoo.tasks import Question

INTRODUCTION = (
    "Host {host} takes in the residual stream of {donors} at block {layers} ({operator}), in every "
    "forward pass. No weight is changed and no data is used: with the hooks off, the host is as before. "
    "alpha is the donors' weight: 0 is the host, 1 the donor."
)
ANSWERS_TEXT = (
    "The same prompts, answered greedily by both parents and by the merge. The answer counts if all "
    "after the last </think> equals the right one exactly."
)
ACCURACY_TEXT = (
    "Held-out questions with one right answer each: facts by unseen phrasing, orderings, sums and "
    "programs by unseen content. Bars are 95 % Wilson intervals."
)
SIMILARITY_TEXT = (
    "Both parents and the merge read the same prompts. Midness is the cosine of the merged stream with "
    "the midpoint of the arc from host to donor; the arc ratio is the share of that arc travelled; CKA "
    "compares whole sets of token states. Before the merged block the stream is the host's own."
)
PATHS_TEXT = (
    "Mean residual stream over all tokens, block by block, in the plane that holds most of it."
)


class ReportConfig(SimilarityConfig):
    """What the similarity analysis takes, and how many questions to ask."""

    n_questions: PositiveInt = Field(default=50, description="held-out questions in each category")
    n_examples: PositiveInt = Field(default=1, description="answers shown of each category")


class ReportOptions(ReportConfig, OutputOptions):
    """The configuration and where results go."""


def run(config: ReportConfig, record: Run | None = None, *, quiet: bool = True) -> Tables:
    """Tables "answers", "accuracy", "similarity" and "paths"."""
    questions = question_set(config.n_questions, seed=config.seed)
    merge = compose(similarity.recipe_of(config), device=config.device, dtype=config.dtype)
    answers = ask_all(merge, questions, config.alphas, quiet=quiet)
    return {
        "answers": answers_table(answers, config.n_questions, config.n_examples),
        "accuracy": accuracy_table(answers),
        **similarity.run(config_in(config, SimilarityConfig), record, quiet=quiet, merge=merge),
    }


def ask_all(
    merge: LatentMerge, questions: list[Question], alphas: Sequence[float], *, quiet: bool
) -> dict[str, Sequence[Answer]]:
    """Answers of host, donor, and the merge at each alpha, by system name."""
    systems = {f"host {merge.host.name}": (merge.host, None)}
    systems |= {f"donor {donor.name}": (donor, None) for donor in merge.donors}
    systems |= {f"merged {alpha:g}": (merge, alpha) for alpha in alphas}
    answers = {}
    for name, (system, alpha) in progress(list(systems.items()), "questions", quiet=quiet):
        if alpha is not None:
            merge.alpha = alpha
        answers[name] = ask(system, questions)
    return answers


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
        *similarity.draw(tables, tuple(config.layers)),
    ]


def page(tables: Tables, config: ReportConfig, figures: Sequence[Figure]) -> str:
    """The report as one HTML page that needs no network."""
    drawn = {name: figure for name, figure, _ in figures}
    introduction = INTRODUCTION.format(
        host=config.host,
        donors=", ".join(str(donor) for donor in config.donors),
        layers=", ".join(str(layer) for layer in config.layers),
        operator=config.operator,
    )
    sections = [
        Section("What each of them says", ANSWERS_TEXT, None, tables["answers"]),
        Section(
            "What each of them knows",
            ACCURACY_TEXT,
            drawn["accuracy_by_category"],
            tables["accuracy"],
        ),
        Section(
            "Where the merged stream lies",
            SIMILARITY_TEXT,
            drawn["similarity_by_layer"],
            tables["similarity"],
        ),
        Section("How far along the arc", "", drawn["arc_ratio_by_alpha"], None),
        Section("The way through the blocks", PATHS_TEXT, drawn["residual_paths"], tables["paths"]),
    ]
    return render_page("Two models in one residual stream", introduction, sections)


def write(options: ReportOptions, given: dict, *, quiet: bool = False) -> tuple[Path, Tables]:
    """Run (or find the finished run) and write `report.html` into its folder; gives page and tables."""
    config = config_in(options, ReportConfig)
    folder, tables = run_recorded(
        "report", config, given, output=options, run=partial(run, quiet=quiet)
    )
    figures = draw(tables, config)
    save_figures(folder / "figures", figures, ("html",))
    if options.export is not None:
        save_figures(options.export, figures, EXPORT_FORMATS)
    path = folder / "report.html"
    path.write_text(page(tables, config, figures), encoding="utf-8")
    return path, tables


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: write the report and say where it lies."""
    options, given = parse_config(
        ReportOptions, argv, prog="python -m analyses.report", description=__doc__ or ""
    )
    path, tables = write(options, given)
    sys.stdout.write(f"{similarity.summary(tables['similarity'])}\nreport: {path}\n")


if __name__ == "__main__":
    with one_line_errors("report"):
        main()
