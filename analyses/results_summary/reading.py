"""Runs of one target each, read by their records."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lm_merge.runs.record import RunRecord, read_record

ANALYSIS = "similarity_merging"


@dataclass(frozen=True)
class Found:
    """Finished runs with their test accuracies, and failed ones."""

    accuracy: pd.DataFrame
    failures: pd.DataFrame
    finished: tuple[tuple[Path, RunRecord], ...]


def read_runs(folder: Path, *, verbose: bool = False) -> Found:
    """All runs of one target in a folder. Of equal configurations the latest finished one counts.

    Raises ValueError where there is no finished run.
    """
    finished: dict[str, tuple[Path, RunRecord]] = {}
    failures = []
    for path in sorted(folder.glob(f"*-{ANALYSIS}-*/record.json")):
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
            "weights": record.config_resolved["weights"],
            "method": record.config_resolved["method"],
            "run": place.name,
            "error": (record.error or "").strip().splitlines()[-1:][0] if record.error else "",
        }
        for record, place in failures
        if record.config_hash not in finished
    ]
    if not finished:
        raise ValueError(
            f"folder={str(folder)!r} has no finished run of analyses.{ANALYSIS}; "
            f"{len(open_failures)} failed"
        )
    columns = ["target", "weights", "method", "run", "error"]
    runs = tuple(finished.values())
    return Found(_accuracy(runs), pd.DataFrame(open_failures, columns=columns), runs)


def _accuracy(runs: tuple[tuple[Path, RunRecord], ...]) -> pd.DataFrame:
    """Rows on the test texts. A baseline that several runs measured is there once."""
    table = pd.concat([pd.read_parquet(folder / "accuracy.parquet") for folder, _ in runs])
    table = table[table.partition == "test"].drop(columns="partition")
    chosen = table.kind.isin(["merge", "vote"])
    named = table.system.where(~chosen, table.system + " " + table.method)
    table = table.assign(system=named, method=table.method.where(chosen, ""))
    best = table.system.str.startswith("best_source")
    # the best of the chosen sources depends on the choice: its own name for each kind of weights
    table["system"] = table.system.where(~best, table.system + " of " + table.weights)
    keys = ["target", "system", "seed"]
    return table.drop_duplicates(keys, keep="last").reset_index(drop=True)
