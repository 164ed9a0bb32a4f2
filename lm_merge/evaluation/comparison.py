"""Tables that compare systems on the same questions, from one row an answer.

The table of answers has the columns system, seed, category, question, right (1, 0, NaN without a
key), n_new_tokens and truncated. The same question may come up under several seeds: intervals draw
whole questions, so that a repeated one counts for what it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from lm_merge.evaluation.pairwise import pair_scores, summarise, verdicts_by_key
from lm_merge.statistics.bradley_terry import bradley_terry, has_strengths
from lm_merge.statistics.intervals import (
    clustered_interval,
    worst_case_half_width,
)
from lm_merge.statistics.paired import mcnemar_exact

OVERALL = "Overall"
ANSWER_KEY = "answer key"
_MOST_LEFT_OUT = 0.2  # of the draws of an interval


def accuracy_by_system(answers: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every system by category and overall, over all seeds.

    Columns: system, category, accuracy_frac, low and high (95 %, `clustered_interval` by
    question, since a repeated one adds little that is new), n (marked answers), n_questions, n_seeds,
    seed_sd_frac (standard deviation of the seeds' accuracies; NaN for one), n_unmarked,
    truncated_frac and mean_new_tokens (of all answers). NaN where nothing has a mark.
    """
    rows = []
    for (system, category), all_of in _by_category(answers, ["system"]):
        marked = all_of[all_of.right.notna()]
        right = marked.right.to_numpy(dtype=float)
        n_questions = marked.question.nunique()
        low, high = clustered_interval(right, list(marked.question), bounds=(0.0, 1.0))
        rows.append(
            {
                "system": system,
                "category": category,
                "accuracy_frac": right.mean() if len(right) else np.nan,
                "low": low,
                "high": high,
                "n": len(right),
                "n_questions": n_questions,
                "n_seeds": marked.seed.nunique(),
                "seed_sd_frac": marked.groupby("seed").right.mean().std(),
                "n_unmarked": int(all_of.right.isna().sum()),
                "truncated_frac": all_of.truncated.astype(float).mean(),
                "mean_new_tokens": all_of.n_new_tokens.astype(float).mean(),
            }
        )
    return pd.DataFrame(rows)


def judged_by_key(answers: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Both orders of every pair of answers as an answer key sees them: one row an answer pair.

    Columns: system, opponent, seed, category, question, first and second (verdicts for the system),
    right and opponent_right, length_difference (tokens). Answers without a mark are left out.
    """
    found = []
    for system, opponent in pairs:
        both = paired_answers(answers, system, opponent)
        both = both[both.right.notna() & both.opponent_right.notna()]
        verdicts = verdicts_by_key(
            both.right.to_numpy(dtype=float), both.opponent_right.to_numpy(dtype=float)
        )
        found.append(both.assign(first=verdicts, second=verdicts))
    return pd.concat(found, ignore_index=True)


def paired_answers(answers: pd.DataFrame, system: str, opponent: str) -> pd.DataFrame:
    """Answers of two systems to the same questions under the same seeds, side by side."""
    known = set(answers.system)
    for name in (system, opponent):
        if name not in known:
            raise ValueError(f"system={name!r} is unknown; choose from {', '.join(sorted(known))}")
    keys = ["seed", "category", "question"]
    one, other = (answers[answers.system == name] for name in (system, opponent))
    both = one.merge(other, on=keys, suffixes=("", "_of_opponent"), validate="one_to_one")
    if len(both) != len(one) or len(both) != len(other):
        raise ValueError(f"{system!r} and {opponent!r} did not answer the same questions")
    columns: dict[str, object] = {
        "system": system,
        "opponent": opponent,
        **{key: both[key] for key in keys},
        "right": both.right,
        "opponent_right": both.right_of_opponent,
        "length_difference": (both.n_new_tokens - both.n_new_tokens_of_opponent).astype(float),
    }
    replies = {"reply": "reply", "opponent_reply": "reply_of_opponent"}
    columns |= {name: both[column] for name, column in replies.items() if column in both}
    return pd.DataFrame(columns)


def win_rates(
    judged: pd.DataFrame, *, judge: str = ANSWER_KEY, judge_accuracy_pct: float = np.nan
) -> pd.DataFrame:
    """Every rate of each pair of systems by category and overall.

    judged: as from `judged_by_key`. Columns: those of `PairwiseSummary`; low and high (95 % of the
    win rate, by question); n_questions; worst_half_width (95 %, of a share at n_questions);
    by the marks, on the first answer to every distinct question, n_only_system, n_only_opponent and
    mcnemar_p; accuracy_difference with difference_low and difference_high (paired, by question);
    judge and judge_accuracy_pct (its official accuracy on labelled pairs; NaN for an answer key).
    """
    rows = []
    for (system, opponent, category), of_pair in _by_category(judged, ["system", "opponent"]):
        first, second = (of_pair[order].to_numpy(dtype=float) for order in ("first", "second"))
        questions = list(of_pair.question)
        length = of_pair.length_difference.to_numpy(dtype=float)
        low, high = clustered_interval(pair_scores(first, second), questions, bounds=(0.0, 1.0))
        rows.append(
            {"system": system, "opponent": opponent, "category": category, "judge": judge}
            | asdict(summarise(first, second, length))
            | {"low": low, "high": high, "n_questions": len(set(questions))}
            | {"worst_half_width": worst_case_half_width(len(set(questions)))}
            | _by_marks(of_pair)
            | {"judge_accuracy_pct": judge_accuracy_pct}
        )
    return pd.DataFrame(rows)


def _by_marks(of_pair: pd.DataFrame) -> dict[str, Any]:
    marked = of_pair.loc[of_pair.right.notna() & of_pair.opponent_right.notna()]
    distinct = marked.loc[~marked.question.duplicated()]
    test = mcnemar_exact(
        distinct.right.to_numpy(dtype=float) == 1,
        distinct.opponent_right.to_numpy(dtype=float) == 1,
    )
    difference = (marked.right - marked.opponent_right).to_numpy(dtype=float)
    low, high = clustered_interval(difference, list(marked.question), bounds=(-1.0, 1.0))
    return {
        "n_only_system": test.n_only_first,
        "n_only_opponent": test.n_only_second,
        "mcnemar_p": test.p_value if len(distinct) else np.nan,
        "accuracy_difference": difference.mean() if len(difference) else np.nan,
        "difference_low": low,
        "difference_high": high,
    }


def strengths(
    judged: pd.DataFrame, *, n_resamples: int = 200, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Bradley-Terry strengths of all systems, in log-odds about their mean, with intervals.

    judged: every pair of systems, as from `judged_by_key`; a pair counts u wins for one system and
    1 - u for the other. Columns: system, strength, low, high, n_games, n_draws, n_draws_left_out.
    The interval is Student's, with the standard deviation of the strengths over bootstrap draws of
    whole questions. A draw that misses all losses of a group has no strengths and is left out; above
    20 % of the draws left out the interval is NaN, since it would be that of the mild draws alone.
    Raises ValueError for fewer than three systems, or a group that never lost in the whole table.
    """
    names = list(dict.fromkeys([*judged.system, *judged.opponent]))
    place = {name: index for index, name in enumerate(names)}
    questions, labels = pd.factorize(judged.question)
    scores = pair_scores(
        judged["first"].to_numpy(dtype=float), judged["second"].to_numpy(dtype=float)
    )
    one, other = (
        np.array([place[name] for name in judged[side]]) for side in ("system", "opponent")
    )
    wins = np.zeros((len(labels), len(names), len(names)))
    np.add.at(wins, (questions, one, other), scores)
    np.add.at(wins, (questions, other, one), 1 - scores)
    estimate = bradley_terry(wins.sum(axis=0), names)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=n_resamples)
    tables = [np.tensordot(draw.astype(float), wins, axes=1) for draw in draws]
    drawn = [bradley_terry(table, names) for table in tables if has_strengths(table)]
    n_left_out = n_resamples - len(drawn)
    half = np.full(len(names), np.nan)
    if n_left_out <= _MOST_LEFT_OUT * n_resamples:
        n = len(labels)
        spread = np.std(drawn, axis=0, ddof=1) * (n / max(1, n - 1)) ** 0.5
        half = t.ppf((1 + confidence) / 2, n - 1) * spread
    games = wins.sum(axis=0)
    return pd.DataFrame(
        {
            "system": names,
            "strength": estimate,
            "low": estimate - half,
            "high": estimate + half,
            "n_games": (games + games.T).sum(axis=1).round().astype(int),
            "n_draws": n_resamples,
            "n_draws_left_out": n_left_out,
        }
    ).sort_values("strength", ascending=False, ignore_index=True)


def _by_category(
    table: pd.DataFrame, keys: list[str]
) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Rows of each key by category, in order of appearance, and then of all categories."""
    for key in dict.fromkeys(table[keys].itertuples(index=False, name=None)):
        rows = table.loc[(table[keys] == list(key)).all(axis=1)]
        for category in dict.fromkeys(rows.category):
            yield (*key, category), rows.loc[rows.category == category]
        yield (*key, OVERALL), rows
