"""Small tables in the form that the figures read."""

import itertools
import math

import pandas as pd
import pytest

METRICS = (
    "midness",
    "arc_ratio",
    "arc_deviation_rad",
    "cka_debiased_host_merged",
    "cka_debiased_donor_merged",
    "cka_debiased_host_donor",
)


def _value(metric: str, alpha: float, layer: int) -> float:
    if metric == "cka_debiased_host_donor":
        return 0.5 + 0.1 * layer  # no matter of alpha
    return math.nan if (metric, layer) == ("arc_ratio", 0) else alpha - 0.05 * layer


@pytest.fixture
def similarity() -> pd.DataFrame:
    rows = itertools.product(METRICS, (0.75, 0.25), range(4))
    return pd.DataFrame(
        {
            "layer": layer,
            "alpha": alpha,
            "operator": "slerp",
            "space": "latents",
            "metric": metric,
            "value": _value(metric, alpha, layer),
            "low": math.nan if metric.startswith("cka") else _value(metric, alpha, layer) - 0.02,
            "high": math.nan if metric.startswith("cka") else _value(metric, alpha, layer) + 0.02,
            "n": 1024,
        }
        for metric, alpha, layer in rows
    )


@pytest.fixture
def paths() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "stream": stream,
            "layer": layer,
            "pc1": 2.0 * layer,
            "pc2": lift * layer,
            "explained_frac_1": 0.712,
            "explained_frac_2": 0.143,
        }
        for stream, lift in (("host", 0.0), ("merged 0.5", 0.01), ("donor", 1.0))
        for layer in range(3)
    )


@pytest.fixture
def accuracy() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "system": system,
            "category": category,
            "accuracy_frac": share,
            "low": share - 0.1,
            "high": share + 0.05,
            "n": n,
        }
        for system, share in (("merged slerp", 0.6), ("host", 0.5), ("donor", 0.4))
        for category, n in (("Reasoning", 98), ("Knowledge", 154))
    )
