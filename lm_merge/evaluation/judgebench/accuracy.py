"""JudgeBench's accuracy, from two games a pair."""

import math
from collections.abc import Sequence
from pathlib import Path

from lm_merge.evaluation.judgebench.files import read_judged, require_distinct
from lm_merge.evaluation.judgebench.schema import CATEGORIES, JudgedPair
from lm_merge.evaluation.judges import decision_value, flipped


def pair_score(pair: JudgedPair) -> int:
    """Games for the right response minus games for the wrong one, in -2..2.

    The second game is read with its sides swapped back. Ties and missing verdicts add nothing.
    """
    first, second = pair.judgments
    for_a = decision_value(first.decision) + decision_value(flipped(second.decision))
    return for_a if pair.label == "A>B" else -for_a


def is_correct(pair: JudgedPair) -> bool:
    """Whether the pair counts as judged correctly: `pair_score` above 0.

    So right twice counts, and right once next to a tie or a missing verdict; an inconsistent judge,
    two ties and two missing verdicts do not.
    """
    return pair_score(pair) > 0


def official_accuracy(pairs: Sequence[JudgedPair]) -> float:
    """100 * correct / n in percent, of all pairs given; NaN for none.

    Source: Tan et al. (2024), arXiv 2410.12784.
    """
    if not pairs:
        return math.nan
    return 100 * sum(map(is_correct, pairs)) / len(pairs)


def score_outputs(path: str | Path) -> dict[str, float]:
    """Official accuracy in percent by category, and "Overall", of a judge's output file.

    path: JSONL in the official schema, reward models' scores included (their decisions are in the
    file). A category without pairs is NaN. Raises ValueError for a pair_id that occurs twice.
    """
    pairs = read_judged(path)
    if not pairs:
        raise ValueError(f"path={str(path)!r} holds no judged pair")
    require_distinct(pairs, path)
    of_category = {
        category: official_accuracy([pair for pair in pairs if pair.category == category])
        for category in CATEGORIES
    }
    return {**of_category, "Overall": official_accuracy(pairs)}
