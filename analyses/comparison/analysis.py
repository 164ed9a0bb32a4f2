"""What `python -m analyses.comparison` measures, draws and reports."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from analyses.comparison.answers import all_answers, mark, questions_by_seed
from analyses.comparison.config import ComparisonConfig
from analyses.comparison.judging import judging_of
from analyses.comparison.systems import sources_of
from analyses.comparison.tables import config_notes, tables_of, truncation_notes
from analyses.running.command_line import Figure, Tables
from analyses.running.findings import Finding, rows_of
from analyses.running.inputs import fingerprints_of
from figures import plot_accuracy_forest, plot_win_rates
from lm_merge.evaluation.comparison import OVERALL
from lm_merge.evaluation.marking import Marker
from lm_merge.runs.record import Run

SIGNIFICANT = 0.05  # of a p-value


def run(
    config: ComparisonConfig,
    record: Run | None = None,
    *,
    since: datetime | None = None,
    quiet: bool = True,
) -> Tables:
    """Tables "answers", "accuracy", "win_rates", "strengths", and "judgments" of a judge.

    With a record, the answers of every system and seed become runs of their own next to it. since:
    answers and judgments from before it are not taken over; None: all are.
    """
    questions = questions_by_seed(config)
    if record is not None:
        models = fingerprints_of(sources_of(config.named_systems()))
        record.update(models=models, seeds=config.seeds, notes=config_notes(config, 0))
    root = None if record is None else record.folder.parent
    # made first: programs that cannot be isolated are refused before anything is generated
    with Marker(run_code=config.run_code) as marker:
        answers = all_answers(config, questions, root, since=since, quiet=quiet)
        answers = mark(answers, questions, marker)
        n_undecided, isolation = len(marker.checker.undecided), marker.isolation
    if config.judge is None:
        tables, notes = tables_of(answers, config)
    else:
        with runs_folder(record) as runs:
            judging = judging_of(config.judge, runs, since=since, quiet=quiet)
            tables, notes = tables_of(answers, config, judging)
    if record is not None:
        if isolation is not None:
            notes = (*notes, f"models' programs ran under {isolation}")
        record.update(notes=(*config_notes(config, n_undecided), *notes))
    return tables


@contextmanager
def runs_folder(record: Run | None) -> Iterator[Path]:
    """Folder of the run records; one that goes again where nothing is recorded."""
    if record is not None:
        yield record.folder.parent
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)


def draw(tables: Tables, config: object = None) -> list[Figure]:
    """The analysis's figures, each with the table it draws."""
    accuracy, rates = tables["accuracy"], tables["win_rates"]
    return [
        ("win_rates", plot_win_rates(rates), rates),
        ("accuracy_forest", plot_accuracy_forest(accuracy), accuracy),
    ]


def findings(tables: Tables, config: ComparisonConfig) -> list[Finding]:
    """Rows of `summary.json`: accuracy of each system, win rate of each pair, strengths.

    Keys: system, opponent (null but for pairs), category, metric (accuracy, win_rate: shares;
    accuracy_difference: of a pair; strength: log-odds, Bradley-Terry), judge (of pairs), value, low,
    high (95 %), n (distinct questions; strength: games).
    """
    keys = ("system", "opponent", "category", "metric", "judge")
    accuracy = tables["accuracy"].rename(columns={"accuracy_frac": "value"})
    accuracy = accuracy.assign(n=accuracy.n_questions)
    rates = tables["win_rates"].assign(n=tables["win_rates"].n_questions)
    ends = {"difference_low": "low", "difference_high": "high", "accuracy_difference": "value"}
    differences = rates.drop(columns=["low", "high"]).rename(columns=ends)
    found = rows_of(accuracy.assign(metric="accuracy"), keys)
    found += rows_of(rates.rename(columns={"win_rate": "value"}).assign(metric="win_rate"), keys)
    found += rows_of(differences.assign(metric="accuracy_difference"), keys)
    if "strengths" in tables:
        games = {"strength": "value", "n_games": "n"}
        found += rows_of(tables["strengths"].rename(columns=games).assign(metric="strength"), keys)
    return found


def summary(tables: Tables, config: object = None) -> str:
    """One sentence a pair: who is ahead over all categories, by which interval; then all systems, and
    whose answers were cut off.
    """
    rates, accuracy = tables["win_rates"], tables["accuracy"]
    lines = [_sentence(row) for _, row in rates[rates.category == OVERALL].iterrows()]
    overall = pd.DataFrame(accuracy[accuracy.category == OVERALL])
    overall = overall.sort_values(by="accuracy_frac", ascending=False)
    ranked = [
        f"{name} {100 * share:.1f}"
        for name, share in zip(overall.system, overall.accuracy_frac, strict=True)
    ]
    lines.append(f"accuracy over all categories (%): {', '.join(ranked)}")
    return "\n".join([*lines, *truncation_notes(accuracy)])


def _sentence(row: pd.Series) -> str:
    """Who is ahead, if both the paired interval and McNemar's test separate the two."""
    low, high = 100 * row.difference_low, 100 * row.difference_high
    calibration = ""
    if not pd.isna(row.judge_accuracy_pct):
        calibration = f", whose accuracy on labelled pairs is {row.judge_accuracy_pct:.1f} %"
    by_both = not row.mcnemar_p >= SIGNIFICANT  # an undefined one leaves it to the interval
    if low > 0 and by_both:
        verdict = "beats"
    elif high < 0 and by_both:
        verdict = "loses to"
    else:
        verdict = "does not clearly differ from"
    by_interval = low > 0 or high < 0
    disagree = not pd.isna(row.mcnemar_p) and by_interval != (row.mcnemar_p < SIGNIFICANT)
    apart = " (interval and test disagree)" if disagree else ""
    return (
        f"{row.system} {verdict} {row.opponent}: accuracy {100 * row.accuracy_difference:+.1f} points "
        f"(95 % {low:+.1f} to {high:+.1f}), win rate {100 * row.win_rate:.1f} % "
        f"({100 * row.low:.1f} to {100 * row.high:.1f}) by {row.judge}{calibration}, "
        f"McNemar p = {row.mcnemar_p:.2g}{apart}, {row.n_questions} questions"
    )
