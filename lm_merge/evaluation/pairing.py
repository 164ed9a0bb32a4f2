"""A judge's verdicts on the answers of two systems, both orders of every pair."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel

from lm_merge.evaluation.json_lines import read_rows, read_text
from lm_merge.evaluation.judges import (
    Decision,
    Game,
    Judge,
    decision_value,
    flipped,
    judge_both_orders,
)


def judged_by(judge: Judge, paired: pd.DataFrame, out: Path | None = None) -> pd.DataFrame:
    """Pairs of answers with a judge's verdicts on them: the columns first and second are added.

    paired: as from `paired_answers`, with the columns question, reply and opponent_reply. A verdict
    is +1, 0 or -1 for the system, NaN where the judge gave none. Equal replies are not shown to the
    judge: they tie by definition, and cost nothing. Nor is the same pair of replies shown twice.
    out: JSONL file that takes every judgment before the next is asked for; what it holds already
    is not judged again. It belongs to one judge: name it after the judge's settings.
    """
    keys = [
        _key(question, reply, other)
        for question, reply, other in zip(
            paired.question, paired.reply, paired.opponent_reply, strict=True
        )
    ]
    verdicts = {} if out is None else _read(out)
    waiting = {
        key: Game(question, reply, other)
        for key, question, reply, other in zip(
            keys, paired.question, paired.reply, paired.opponent_reply, strict=True
        )
        if reply != other and key not in verdicts
    }
    names = list(waiting)
    for index, (as_it_stands, swapped) in judge_both_orders(judge, list(waiting.values())):
        found = (_verdict(as_it_stands.decision), _verdict(flipped(swapped.decision)))
        verdicts[names[index]] = found
        if out is not None:
            judgments = [as_it_stands.judgment, swapped.judgment]
            _append(out, {"key": names[index], "verdicts": found, "judgments": judgments})
    verdicts |= {
        key: (0.0, 0.0)
        for key, reply, other in zip(keys, paired.reply, paired.opponent_reply, strict=True)
        if reply == other
    }
    both = [verdicts[key] for key in keys]
    columns = np.array(both, dtype=float).reshape(-1, 2)  # None, no verdict, becomes NaN
    return paired.assign(first=columns[:, 0], second=columns[:, 1])


class _Kept(BaseModel):
    """A line of the file of judgments."""

    key: str
    verdicts: tuple[float | None, float | None]


def _key(*texts: str) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _verdict(decision: Decision | None) -> float | None:
    return None if decision is None else float(decision_value(decision))


def _read(out: Path) -> dict[str, tuple[float | None, float | None]]:
    """Verdicts by key; a last line that was cut off is removed from the file."""
    if not out.exists():
        return {}
    whole, _, torn = read_text(out).rpartition("\n")
    if torn:
        out.write_text(whole + "\n" if whole else "", encoding="utf-8")
    return {row.key: row.verdicts for row in read_rows(out, _Kept)}


def _append(out: Path, line: dict) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
