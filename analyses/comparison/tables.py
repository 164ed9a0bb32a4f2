"""The tables of a comparison from marked answers, and what a reader must know of them."""

from itertools import combinations

import pandas as pd

from analyses.comparison.config import ComparisonConfig
from analyses.comparison.judging import Judging
from analyses.comparison.systems import System, opposed
from analyses.running.command_line import Tables
from lm_merge.evaluation.comparison import (
    OVERALL,
    accuracy_by_system,
    judged_by_key,
    paired_answers,
    strengths,
    win_rates,
)
from lm_merge.recipes import Recipe

MUCH_TRUNCATED = 0.1  # share of answers cut off by max_new_tokens that a reader must know of
UNCONNECTED = "ever won or tied against it"  # what bradley_terry says of a group that never lost


def tables_of(
    answers: pd.DataFrame, config: ComparisonConfig, judging: Judging | None = None
) -> tuple[Tables, tuple[str, ...]]:
    """The tables of a comparison from marked answers, and notes on them.

    Without a judge the answer key is one. "strengths" is absent where a group of systems never lost,
    which has no finite strength.
    """
    systems = config.named_systems()
    pairs = config.pairs or opposed(systems)
    tables = {"answers": answers, "accuracy": _described(accuracy_by_system(answers), systems)}
    if judging is None:
        rates = win_rates(judged_by_key(answers, pairs))
    else:
        both = pd.concat([paired_answers(answers, *pair) for pair in pairs], ignore_index=True)
        judged = judging.judge_answers(both)
        rates = win_rates(judged, judge=judging.name, judge_accuracy_pct=judging.accuracy_pct)
        tables["judgments"] = judged
    tables["win_rates"] = _described(rates, systems)
    notes = truncation_notes(tables["accuracy"])
    if len(systems) > 2:
        everyone = judged_by_key(answers, tuple(combinations(systems, 2)))
        try:
            tables["strengths"] = _described(strengths(everyone), systems)
        except ValueError as error:
            if UNCONNECTED not in str(error):
                raise
            notes.append(f"no table of strengths: {error}")
    return tables, tuple(notes)


def truncation_notes(accuracy: pd.DataFrame) -> list[str]:
    """One sentence if the limit on new tokens cut off many of some system's answers, else none."""
    overall = accuracy.loc[accuracy.category == OVERALL]
    cut = overall.loc[overall.truncated_frac > MUCH_TRUNCATED]
    if cut.empty:
        return []
    shares = [
        f"{name} {100 * share:.0f} %"
        for name, share in zip(cut.system, cut.truncated_frac, strict=True)
    ]
    return [
        f"answers cut off at max_new_tokens, before they ended: {', '.join(shares)}; a larger "
        "max_new_tokens lets them end"
    ]


def _described(table: pd.DataFrame, systems: dict[str, System]) -> pd.DataFrame:
    """A table with the operator, space and alpha of each system; empty and NaN for a model alone."""
    recipes = {name: one for name, one in systems.items() if isinstance(one, Recipe)}

    def column(field: str, missing: object) -> list:
        return [
            getattr(recipes[name], field) if name in recipes else missing for name in table.system
        ]

    return table.assign(
        operator=column("operator", ""), space=column("space", ""), alpha=column("alpha", None)
    ).astype({"alpha": float})


def config_notes(config: ComparisonConfig, n_undecided: int) -> tuple[str, ...]:
    """What a reader must know of any comparison set up like this."""
    notes = ["strengths: by the answer key; a win is a right answer where the other one is wrong"]
    if n_undecided:
        notes.append(
            f"{n_undecided} answers could not be compared with the key: they count as wrong"
        )
    if "regmean" in config.operators and len(config.recipe.donors) == 1 and not config.systems:
        notes.append(
            "with one donor regmean on latents is lerp at the same alpha; on weights its "
            "counterpart is linear"
        )
    return tuple(notes)
