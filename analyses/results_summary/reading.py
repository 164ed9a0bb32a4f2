"""Runs of one target each, read by their records."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.results_summary.config import READ
from lm_merge.runs.record import RunRecord, read_record

MERGING, ROUNDS = READ
NAMED = ("target", "weights", "method")  # what a system's name contains already
OF_NO_RESULT = (  # options that change no accuracy, and what differs from target to target anyway
    "inputs",
    "baselines",
    "dry_run",
    "device",
    "states",
    "mirror",
    "effect_after",
    "seeds",
    "seed",
    "manual_weights",
)
LONGEST = 24  # characters of a value in a name
OF_BASELINES = ("data", "sources", "n_examples", "max_length", "dtype")
Finished = tuple[tuple[Path, RunRecord], ...]


@dataclass(frozen=True)
class Found:
    """Finished runs with their test accuracies, and failed ones."""

    accuracy: pd.DataFrame
    failures: pd.DataFrame
    finished: Finished


def read_runs(folder: Path, *, verbose: bool = False) -> Found:
    """All runs of one target in a folder. Of equal configurations the latest finished one counts.

    Runs whose configurations differ are different systems: what differs is in their names. Raises
    ValueError where there is no finished run.
    """
    finished: dict[str, tuple[Path, RunRecord]] = {}
    failures = []
    for path in run_records(folder):
        record = read_record(path.parent)
        if verbose:
            sys.stdout.write(f"{path.parent.name}: {record.status}\n")
        if record.status == "finished":
            finished[record.config_hash] = (path.parent, record)
        elif record.status == "failed":
            failures.append((record, path.parent))
    open_failures = [
        {
            "target": record.config_resolved["target"],
            "weights": _weights(record),
            "method": record.config_resolved["method"],
            "run": place.name,
            "error": (record.error or "").strip().splitlines()[-1:][0] if record.error else "",
        }
        for record, place in failures
        if record.config_hash not in finished
    ]
    if not finished:
        raise ValueError(
            f"folder={str(folder)!r} has no finished run of analyses.{MERGING} or analyses.{ROUNDS}; "
            f"{len(open_failures)} failed; run one of the two, or give the folder of its runs"
        )
    columns = ["target", "weights", "method", "run", "error"]
    runs = tuple(finished.values())
    return Found(_accuracy(runs), pd.DataFrame(open_failures, columns=columns), runs)


def run_records(folder: Path) -> list[Path]:
    """Records of the runs that a summary reads, in the order of their start."""
    return sorted(path for name in READ for path in folder.glob(f"*-{name}-*/record.json"))


def _weights(record: RunRecord) -> str:
    """The kind of weights; of rounds, which choose by similarity, "rounds"."""
    return str(record.config_resolved.get("weights", ROUNDS))


def _accuracy(runs: Finished) -> pd.DataFrame:
    """Rows on the test texts. A baseline that several runs measured alike is there once."""
    results, baselines = _words_of_results(runs), _words_of_baselines(runs)
    parts = []
    for folder, record in runs:
        table = pd.read_parquet(folder / "accuracy.parquet")
        table = table.loc[table["partition"] == "test"].drop(columns="partition")
        if record.analysis == ROUNDS:
            parts.append(_of_rounds(table, record, results[folder]))
        else:
            parts.append(_of_merging(table, results[folder], baselines[folder]))
    table = pd.concat(parts, ignore_index=True)
    return table.drop_duplicates(["target", "system", "seed"], keep="last").reset_index(drop=True)


def _of_merging(table: pd.DataFrame, own: str, of_baseline: str) -> pd.DataFrame:
    """Rows of a merge or vote and its baselines, named so that equal names are equal systems."""
    chosen = table.kind.isin(["merge", "vote"])
    best = table.system.str.startswith("best_source")
    named = table.system + of_baseline
    named = named.where(~chosen, table.system + " " + table.method + own)
    # the best of the chosen sources depends on the choice: its own name for each kind of weights
    named = named.where(~best, table.system + " of " + table.weights + own)
    return table.assign(system=named, method=table.method.where(chosen, ""))


def _of_rounds(table: pd.DataFrame, record: RunRecord, words: str) -> pd.DataFrame:
    """Rows of rounds, in the columns of merges; their sources are those after the last round."""
    method = record.config_resolved["method"]
    name = f"{ROUNDS} {method}{words}"
    merged = table.system == ROUNDS
    return table.assign(
        system=table.system.where(~merged, name).where(merged, table.system + f" after {name}"),
        weights=ROUNDS,
        method=pd.Series(method, index=table.index).where(merged, ""),
        kind=merged.map({True: ROUNDS, False: "single"}),
        seed=record.config_resolved["seed"],
    )


def _words_of_results(runs: Finished) -> dict[Path, str]:
    """What tells runs of one kind of weights and one method apart, except the target and the seed."""
    groups: dict[tuple[str, ...], list[tuple[Path, RunRecord]]] = {}
    for folder, record in runs:
        key = record.analysis, _weights(record), str(record.config_resolved["method"])
        groups.setdefault(key, []).append((folder, record))
    found: dict[Path, str] = {}
    for group in groups.values():
        keys = {key for _, record in group for key in record.config_resolved}
        found |= _words(group, sorted(keys - {*OF_NO_RESULT, *NAMED}))
    return found


def _words_of_baselines(runs: Finished) -> dict[Path, str]:
    """What tells the baselines of runs apart: other models or texts."""
    return _words([one for one in runs if one[1].analysis == MERGING], OF_BASELINES)


def _words(runs: Sequence[tuple[Path, RunRecord]], keys: Sequence[str]) -> dict[Path, str]:
    """Folder -> the values of its run under the keys whose values differ, ", key value" each."""
    values = {folder: record.config_resolved for folder, record in runs}
    differing = [key for key in keys if len({_text(one.get(key)) for one in values.values()}) > 1]
    return {
        folder: "".join(f", {key} {_text(one.get(key))}" for key in differing)
        for folder, one in values.items()
    }


def _text(value: Any) -> str:
    """A value in a name; what is long by its digest."""
    text = json.dumps(value, sort_keys=True, default=str).strip('"')
    return text if len(text) <= LONGEST else hashlib.sha256(text.encode()).hexdigest()[:8]
