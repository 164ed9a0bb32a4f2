"""One `results.json` a system and target, in folders `<system>_<locale>`, for other scripts."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lm_merge.operators.distributions import ENSEMBLE_METHODS
from lm_merge.runs.record import RunRecord


def write_reference_layout(runs: Sequence[tuple[Path, RunRecord]], folder: Path) -> Path:
    """Write `<weights>_<locale>/results.json` for merges, `ensemble_<method>_<locale>/` for votes.

    Of rounds, `iterative_<method>_<locale>/`. Each has experiment_info, performance (accuracy, correct,
    total, error_rate) and sources with weights. Of several methods of one kind of weights and target the
    method is in the name, too, and the configuration's hash where that does not tell two apart.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for place, record in runs:
        given = record.config_resolved
        rounds = record.analysis == "rounds"
        target, method = given["target"], given["method"]
        weights = "iterative" if rounds else given["weights"]
        vote = method in ENSEMBLE_METHODS
        kind = f"ensemble_{method}" if vote else f"iterative_{method}" if rounds else weights
        own = _free(
            folder,
            f"{kind}_{target}",
            f"{weights}_{method}_{target}",
            f"{weights}_{method}_{target}_{record.config_hash[:8]}",
        )
        accuracy = pd.read_parquet(place / "accuracy.parquet")
        chosen = accuracy.system == "rounds" if rounds else accuracy.kind.isin(["merge", "vote"])
        measured = accuracy[chosen & (accuracy.partition == "test")].iloc[0]
        total = int(measured.n)
        correct = round(float(measured.accuracy_frac) * total)
        sources = pd.read_parquet(place / "sources.parquet")
        content = {
            "experiment_info": {
                "locale": target,
                "experiment_type": kind,
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


def _free(folder: Path, *names: str) -> Path:
    """The first of the names that is not taken, made."""
    place = next((folder / name for name in names if not (folder / name).exists()), None)
    if place is None:
        raise ValueError(f"two runs would be written to {names[-1]}; give another folder of runs")
    place.mkdir()
    return place
