"""Tables of a decomposition: what figures draw, and published values next to ours."""

from typing import Any

import pandas as pd
import torch

from analyses.running.command_line import Tables
from lm_merge.decomposition.decomposition import Decomposition
from lm_merge.decomposition.targets.settings import Expected
from lm_merge.metrics.decomposition import column_order, live

PAPER = "arXiv 2506.20790"
# mean and standard deviation over runs, of W alone; live components
PUBLISHED: dict[str, dict[str, tuple[float, float | None]]] = {
    "tms_5-2": {"mmcs": (1.0, 0.0), "ml2r": (0.993, 0.002), "n_live": (5, None)},
    "tms_40-10": {"mmcs": (1.0, 0.0), "ml2r": (1.010, 0.007), "n_live": (40, None)},
    "tms_5-2-id": {"mmcs": (1.0, 0.0), "ml2r": (0.992, 0.010), "n_live": (7, None)},
    "tms_40-10-id": {"mmcs": (1.0, 0.0), "ml2r": (1.031, 0.001), "n_live": (50, None)},
}
# failures over seeds in the authors' logs of July 2025, two sets of runs each
PUBLISHED_FAILURES = {"tms_5-2": "13 of 90, 18 of 90", "tms_40-10": "4 of 19, 6 of 19"}


def published_table(summary: pd.DataFrame) -> pd.DataFrame:
    """One row a metric: published mean and sd, our mean and sd over seeds, n, seeds not solved."""
    frame: Any = summary
    name = str(frame.experiment.iloc[0])
    solved = frame.solved.dropna()
    failed = None if solved.empty else int((~solved.astype(bool)).sum())
    rows = []
    for metric in ("mmcs", "ml2r", "n_live"):
        ours: Any = pd.to_numeric(frame[metric], errors="coerce")
        mean, sd = PUBLISHED.get(name, {}).get(metric, (None, None))
        rows.append(
            {
                "experiment": name,
                "preset": frame.preset.iloc[0],
                "metric": metric,
                "published_mean": mean,
                "published_sd": sd,
                "mean": ours.mean(),
                "sd": ours.std(),
                "n_seeds": len(summary),
                "n_not_solved": failed,
                "published_failures": PUBLISHED_FAILURES.get(name),
            }
        )
    return pd.DataFrame(rows)


@torch.no_grad()
def component_tables(found: Decomposition, expected: Expected) -> Tables:
    """Tables "importances" and "columns" of a toy target; none for a target without known features.

    "importances": seed, layer, feature, component, place (after ordering), importance.
    "columns": seed, layer, component (-1: the target's own), feature, norm, and x, y where the columns
    have two dimensions; live components of layers where one component a feature is expected.
    """
    if not expected:
        return {}
    target: Any = found.target
    seen = found.see(target.one_hot(len(found.seeds)))
    importances, columns = [], []
    for name, one in seen.factors.items():
        one_to_one = expected[name][0] == "identity"
        if one_to_one:
            matrix = target.seen_by(name, one.layer.weight)
            columns += _columns(found.seeds[0], name, -1, matrix)
        for place, seed in enumerate(found.seeds):
            importances.append(_importances(seed, name, seen.importances[name][place]))
            for component in live(one.norms()[place]).nonzero().flatten().tolist() * one_to_one:
                outer = one.U[place][:, component, None] * one.V[place][component]
                columns += _columns(seed, name, component, target.seen_by(name, outer))
    return {
        "importances": pd.concat(importances, ignore_index=True),
        "columns": pd.DataFrame(columns),
    }


def _importances(seed: int, layer: str, values: torch.Tensor) -> pd.DataFrame:
    order = column_order(values)
    frame = pd.DataFrame(values[:, order.tolist()].cpu().numpy())
    long: Any = frame.reset_index(names="feature").melt("feature", var_name="place")
    long = long.rename(columns={"value": "importance"}).astype({"place": int})
    return long.assign(component=order[long.place], layer=layer, seed=seed)


def _columns(seed: int, layer: str, component: int, matrix: torch.Tensor) -> list[dict[str, Any]]:
    flat = len(matrix) == 2
    return [
        {
            "seed": seed,
            "layer": layer,
            "component": component,
            "feature": feature,
            "norm": float(column.norm()),
            "x": float(column[0]) if flat else None,
            "y": float(column[1]) if flat else None,
        }
        for feature, column in enumerate(matrix.T)
    ]
