"""One `results.json` a system and target, in folders `<system>_<locale>`, for other scripts."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lm_merge.operators.distributions import ENSEMBLE_METHODS
from lm_merge.runs.record import RunRecord


def write_reference_layout(runs: Sequence[tuple[Path, RunRecord]], folder: Path) -> Path:
    """Write `<weights>_<locale>/results.json` for merges, `ensemble_<method>_<locale>/` for votes.

    Each has experiment_info, performance (accuracy, correct, total, error_rate) and sources with
    weights; of several methods of one kind of weights and target the method is in the name, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for place, record in runs:
        given = record.config_resolved
        target, weights, method = given["target"], given["weights"], given["method"]
        vote = method in ENSEMBLE_METHODS
        name = f"ensemble_{method}_{target}" if vote else f"{weights}_{target}"
        own = folder / name
        if own.exists():
            own = folder / f"{weights}_{method}_{target}"
        own.mkdir(exist_ok=True)
        accuracy = pd.read_parquet(place / "accuracy.parquet")
        kinds = accuracy.kind.isin(["merge", "vote"]) & (accuracy.partition == "test")
        measured = accuracy[kinds].iloc[0]
        total = int(measured.n)
        correct = round(float(measured.accuracy_frac) * total)
        sources = pd.read_parquet(place / "sources.parquet")
        content = {
            "experiment_info": {
                "locale": target,
                "experiment_type": f"ensemble_{method}" if vote else weights,
                "method": method,
                "timestamp": record.started.isoformat(),
                "run": place.name,
            },
            "performance": {
                "accuracy": correct / total,
                "correct": correct,
                "total": total,
                "error_rate": 1 - correct / total,
            },
            "sources": [
                {"locale": source, "weight": float(weight)}
                for source, weight in zip(sources.source, sources.weight, strict=True)
            ],
        }
        text = json.dumps(content, indent=2) + "\n"
        (own / "results.json").write_text(text, encoding="utf-8")
    return folder
