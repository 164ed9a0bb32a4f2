"""Judge pairs in both orders and write them down one by one, so that a stop loses nothing."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lm_merge.evaluation.json_lines import read_text
from lm_merge.evaluation.judgebench.files import read_judged, require_distinct
from lm_merge.evaluation.judgebench.schema import JudgedPair, Judgment, Pair
from lm_merge.evaluation.judges import GameJudgment, Judge, judge_both_orders

_ONCE_WRITTEN = "too_long"  # in older settings files; no verdict depends on it


def judge_pairs(pairs: Sequence[Pair], judge: Judge, out: Path) -> Iterator[JudgedPair]:
    """Judge pairs, each in both orders, into a JSONL file in the official schema; yields them.

    A line is on the disk before its pair is yielded. Pairs that the file holds already come first
    and are not judged again: after a stop, a kill included, the same call goes on where it ended.
    A line that was cut off is dropped and its pair judged anew. `<out>.settings.json` records the
    judge's settings. They must agree once the file contains a judgment, and not before. Raises
    ValueError where the file was made otherwise, or contains other pairs, and BlockingIOError while
    another run writes it.
    """
    require_distinct(pairs, "pairs")
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("ab+") as file, _alone(file, out):
        _require_same_settings(out, judge)
        _drop_unfinished_line(file)
        done = _judged_before(out, pairs)
        yield from done.values()
        waiting = [pair for pair in pairs if pair.pair_id not in done]
        games = [pair.game() for pair in waiting]
        for index, judgments in judge_both_orders(judge, games):
            judged = _judged(waiting[index], judge.name, judgments)
            file.write(judged.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            yield judged


def settings_file(out: Path) -> Path:
    """Where the settings of a judge stand that wrote `out`."""
    return out.with_name(out.name + ".settings.json")


def _judged(pair: Pair, judge_name: str, judgments: Sequence[GameJudgment]) -> JudgedPair:
    games = tuple(Judgment(judgment=one.judgment, decision=one.decision) for one in judgments)
    return JudgedPair.model_validate(
        {**pair.model_dump(), "judge_name": judge_name, "judgments": games}
    )


@contextmanager
def _alone(file: BinaryIO, out: Path) -> Iterator[None]:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(f"out={str(out)!r} is being written by another run") from None
    yield  # the lock goes with the file


def _require_same_settings(out: Path, judge: Judge) -> None:
    path, settings = settings_file(out), {"judge_name": judge.name, **judge.settings}
    if not path.exists() and out.stat().st_size:
        raise ValueError(f"{out} contains lines but {path.name} is gone; choose another out")
    if not path.exists() or not _has_lines(out):  # no judgment that they must agree with
        draft = path.with_name(path.name + ".draft")
        draft.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        os.replace(draft, path)
        return
    before = _settings_in(path)
    differences = _differences(before, json.loads(json.dumps(settings)))
    if differences:
        raise ValueError(f"{out} was made with other settings ({differences}); choose another out")


def _has_lines(out: Path) -> bool:
    """Whether a file contains a whole line."""
    with out.open("rb") as file:
        return file.readline().endswith(b"\n")


def _settings_in(path: Path) -> dict[str, Any]:
    try:
        before = json.loads(read_text(path))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON of settings ({error}); choose another out") from None
    if not isinstance(before, dict):
        raise ValueError(f"{path} contains no settings but {before!r:.80}; choose another out")
    return before


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    keys = sorted(
        key for key in {*before, *now} - {_ONCE_WRITTEN} if before.get(key) != now.get(key)
    )
    return "; ".join(f"{key}: {before.get(key)!r} then, {now.get(key)!r} now" for key in keys)


def _drop_unfinished_line(file: BinaryIO) -> None:
    """Cut the file after its last newline: what follows was being written when the run ended."""
    file.seek(0)
    whole = file.read().rfind(b"\n") + 1
    file.truncate(whole)
    file.seek(whole)


def _judged_before(out: Path, pairs: Sequence[Pair]) -> dict[str, JudgedPair]:
    found = read_judged(out)
    require_distinct(found, out)
    wanted = {pair.pair_id: pair for pair in pairs}
    for judged in found:
        pair = wanted.get(judged.pair_id)
        if pair is None or pair.model_dump() != judged.model_dump(include=set(Pair.model_fields)):
            raise ValueError(
                f"{out} holds pair {judged.pair_id!r}, which is not among the pairs to judge; "
                "choose another out"
            )
    return {judged.pair_id: judged for judged in found}
