"""Trials of earlier searches that a new one knows from the start."""

import glob
import json
from pathlib import Path

import pandas as pd

from analyses.adapter_search.config import AdapterSearchConfig
from lm_merge.runs.record import read_record
from lm_merge.tuning.search.proposer import Observation
from lm_merge.tuning.search.space import SearchSpace


def warm_trials(config: AdapterSearchConfig) -> tuple[list[Observation], list[str]]:
    """Finished trials of comparable searches, the best first, and what was not taken, with the reason.

    Raises ValueError for a name that fits no folder of a search.
    """
    space, notes = SearchSpace(config.parameters), list[str]()
    found: dict[tuple[float, ...], tuple[float, Observation]] = {}
    for pattern in config.warm_start:
        folders = [Path(one) for one in sorted(glob.glob(pattern)) if _is_search(Path(one))]
        if not folders:
            raise ValueError(
                f"warm_start={pattern!r} is no folder of a search with a table of trials; give "
                "runs/*-adapter_search-* or one of these folders"
            )
        for folder in folders:
            differing = _differences(config, folder)
            if differing:
                notes.append(f"warm start: {folder.name} has other {', '.join(differing)}")
                continue
            for row in pd.read_parquet(folder / "trials.parquet").to_dict("records"):
                values = json.loads(row["parameters"])
                point = space.point(values)
                if row["status"] == "failed" or point is None:
                    continue
                recoveries = tuple(json.loads(row["recoveries"]).values())
                found.setdefault(tuple(point), (row["score"], Observation(values, recoveries)))
    ranked = sorted(found.values(), key=lambda one: -one[0])
    return [one for _, one in ranked[: config.warm_start_max]], notes


def _is_search(folder: Path) -> bool:
    return (folder / "trials.parquet").is_file() and (folder / "record.json").is_file()


def _differences(config: AdapterSearchConfig, folder: Path) -> list[str]:
    """What the searches do not share; their trials then say nothing about each other."""
    own = json.loads(json.dumps(config.comparable))
    other = read_record(folder).config_resolved.get("comparable", {})
    return sorted(key for key in own if own[key] != other.get(key))
