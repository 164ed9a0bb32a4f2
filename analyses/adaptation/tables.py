"""From rows of tokens to latencies of items, survival curves and the summary."""

from collections.abc import Iterator
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray

from analyses.adaptation.conditions import CONTROLS
from analyses.adaptation.config import AdaptationConfig
from lm_merge.metrics import adaptation_gap, first_run, settled
from lm_merge.statistics.equivalence import equivalence_test
from lm_merge.statistics.intervals import clustered_interval, wilson_interval
from lm_merge.statistics.multiple_tests import holm
from lm_merge.statistics.paired import paired_difference
from lm_merge.statistics.survival import kaplan_meier, restricted_mean

GROUP = ["system", "condition", "tau"]
SCALES = {"immediate": (0, 5), "short": (5, 20), "long": (20, None)}
ADAPTED = (
    *("adapted_frac", "adapted_low", "adapted_high"),
    *("restricted_mean_latency_tokens", "latency_low", "latency_high"),
)
CONTRASTED = ("latency_tokens", "gap", "index_mean")


def items_table(
    tokens: pd.DataFrame, texts: pd.DataFrame, config: AdaptationConfig
) -> pd.DataFrame:
    """One row a text: its latencies in tokens, whether they happened, its gap and mean index.

    texts: key and `ended`, `states` (whose answer), of every text. A latency that did not happen is the
    horizon. Gaps also by scale: tokens 0 to 4, 5 to 19, from 20 on.
    """
    kappa = detection_thresholds(tokens, config.level)
    rows = []
    for text in texts.to_dict("records"):
        key: list[Any] = [text[name] for name in (*GROUP, "item")]
        own = tokens.loc[(tokens[[*GROUP, "item"]] == key).all(axis=1)].sort_values("position")
        rows.append({**text, **_item_row(own, kappa.get((key[0], key[2]), nan), config)})
    return pd.DataFrame(rows)


def detection_thresholds(tokens: pd.DataFrame, level: float) -> dict[tuple[str, int], float]:
    """(system, tau) -> the (1 - level) quantile over items of the largest KL(p, p0) under a control.

    Family-wise over the horizon. Nothing where no control was run.
    """
    run = set(tokens["condition"])
    control = next((name for name in CONTROLS if name in run), None)
    chosen = tokens.loc[tokens["condition"] == control]
    found: dict[tuple[str, int], float] = {}
    for (system, tau), rows in chosen.groupby(["system", "tau"]):
        largest = rows.groupby("item")["kl0_nats"].max()
        found[str(system), int(tau)] = float(np.quantile(largest, 1 - level))
    return found


def _item_row(rows: pd.DataFrame, kappa: float, config: AdaptationConfig) -> dict[str, object]:
    values = {name: rows[name].to_numpy() for name in rows.columns}
    counts = values["diagnostic"].astype(bool)
    expected = values["attribution"] != "neither"  # else the sign of the ratio means nothing
    favours = expected & (values["log_ratio_nats"] > config.theta_nats)
    adapted = first_run(favours, counts, config.window)
    near = first_run(values["kl1_nats"] < config.close_nats, counts, config.window)
    reacted = np.flatnonzero(values["kl0_nats"] > kappa)
    calm = settled(values["js1_nats"].astype(float))
    kl1, kl01 = values["kl1_nats"].astype(float), values["kl01_nats"].astype(float)
    index = values["index"].astype(float)[counts]
    found: dict[str, object] = {
        "latency_tokens": adapted.tokens if adapted.happened else config.horizon,
        "adapted": adapted.happened,
        "latency_opportunities": adapted.opportunities,
        "detection_tokens": nan if np.isnan(kappa) else _first(reacted, config.horizon),
        "detected": bool(len(reacted)),
        "convergence_tokens": near.tokens if near.happened else config.horizon,
        "converged": near.happened,
        "settling_tokens": calm.tokens if calm.happened else config.horizon,
        "settled": calm.happened,
        "n_tokens": len(rows),
        "n_diagnostic": int(counts.sum()),
        "index_mean": float(np.nanmean(index)) if np.isfinite(index).any() else nan,
        "gap": adaptation_gap(kl1, kl01),
        "kl1_sum_nats": float(kl1[np.isfinite(kl1)].sum()),
        "kl01_sum_nats": float(kl01[np.isfinite(kl01)].sum()),
    }
    for name, (low, high) in SCALES.items():
        found[f"gap_{name}"] = adaptation_gap(kl1[low:high], kl01[low:high])
    return found


def _first(places: ndarray, horizon: int) -> float:
    return float(places[0]) if len(places) else float(horizon)


def groups(table: pd.DataFrame) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """Rows of one system, condition and tau, in the order in which they were measured."""
    for key, rows in table.groupby(GROUP, sort=False):
        system, condition, tau = key if isinstance(key, tuple) else (key, "", 0)
        yield {"system": system, "condition": condition, "tau": int(tau)}, rows


def summary_table(items: pd.DataFrame, config: AdaptationConfig) -> pd.DataFrame:
    """One row a system, condition and tau, with the columns of `summary.json`.

    adapted_frac with its interval by cluster; restricted mean latency in tokens, up to the horizon, with
    its jackknife interval; gap: sum of KL(p, p1) over sum of KL(p0, p1) of all items; index_mean over
    diagnostic tokens, by item; censored: items that did not adapt. Where no text has `window` diagnostic
    tokens, the two contexts agree on all that was written, and share and latency are undefined.
    """
    rows = []
    for key, of_key in groups(items):
        adapted = of_key["adapted"].to_numpy(dtype=bool)
        times = of_key["latency_tokens"].to_numpy(dtype=float)
        mean = restricted_mean(times, adapted, float(config.horizon))
        low, high = _share(adapted, of_key["cluster"].astype(str).tolist())
        apart, gap, n_tokens = (
            float(of_key[name].to_numpy(dtype=float).sum())
            for name in ("kl01_sum_nats", "kl1_sum_nats", "n_tokens")
        )
        index = of_key["index_mean"].to_numpy(dtype=float)
        found = (float(adapted.mean()), low, high, mean.value, mean.low, mean.high)
        told_apart = of_key["n_diagnostic"].to_numpy(dtype=int).max() >= config.window
        rows.append(
            {
                **key,
                "n": len(of_key),
                **dict(zip(ADAPTED, found if told_apart else (nan,) * len(found), strict=True)),
                "gap": gap / apart if apart > 1e-3 * n_tokens else nan,
                "index_mean": float(np.nanmean(index)) if np.isfinite(index).any() else nan,
                "censored": int((~adapted).sum()),
            }
        )
    return pd.DataFrame(rows)


def _share(adapted: ndarray, clusters: list[str]) -> tuple[float, float]:
    if len(set(clusters)) == len(clusters):
        return wilson_interval(int(adapted.sum()), len(adapted))
    return clustered_interval(adapted.astype(float), clusters, bounds=(0.0, 1.0))


def survival_table(items: pd.DataFrame, config: AdaptationConfig) -> pd.DataFrame:
    """Kaplan-Meier estimate of P(latency > t), its band, and the items at risk; from t = 0."""
    rows = []
    for key, of_key in groups(items):
        times = of_key["latency_tokens"].to_numpy(dtype=float)
        curve = kaplan_meier(times, of_key["adapted"].to_numpy(dtype=bool))
        steps = zip(
            curve.times, curve.survival, curve.low, curve.high, curve.n_at_risk, strict=True
        )
        rows.append(
            {**key, "time": -0.5, "survival": 1.0, "low": nan, "high": nan, "n": len(times)}
        )
        last = 1.0
        for time, survival, low, high, n in steps:
            last = float(survival)
            rows.append(
                {**key, "time": time, "survival": last, "low": low, "high": high, "n": int(n)}
            )
        end = {"time": float(config.horizon), "survival": last, "low": nan, "high": nan}
        rows.append({**key, **end, "n": int((times >= config.horizon).sum())})
    return pd.DataFrame(rows)


def contrasts_table(items: pd.DataFrame, config: AdaptationConfig) -> pd.DataFrame:
    """Paired differences of two conditions, item by item, with Holm's correction over all of them.

    An item measured at several taus enters once, as its mean. For gaps against flush, the oracle on the
    same text, `equivalent` says whether the difference lies within the margin.
    """
    run = set(items["condition"])
    rows = []
    for system in items["system"].unique():
        for one, other in config.contrasts:
            if not {one, other} <= run:
                continue
            of_system = items.loc[items["system"] == system]
            for metric in CONTRASTED:
                differences = _paired(of_system, one, other, metric)
                found = paired_difference(differences, seed=config.seed)
                row = {"system": system, "condition": one, "opponent": other, "metric": metric}
                row |= {
                    "difference": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "n": found.n,
                }
                row |= {"d_z": found.d_z, "p_t": found.p_t, "p_permutation": found.p_permutation}
                if metric == "gap":
                    same = equivalence_test(differences, config.margin_gap, level=config.level)
                    row |= {"equivalent": same.equivalent, "p_equivalence": same.p_value}
                rows.append(row)
    table = pd.DataFrame(rows)
    if len(table):
        table["p_holm"] = holm(table["p_permutation"].to_numpy(dtype=float))
    return table


def _paired(items: pd.DataFrame, one: str, other: str, metric: str) -> ndarray:
    """Differences over the items that have the metric under both conditions."""
    means = items.pivot_table(index="item", columns="condition", values=metric, aggfunc="mean")
    both = means.reindex(
        columns=[one, other]
    ).dropna()  # a condition without any value has no column
    pairs = both.to_numpy(dtype=float)
    return pairs[:, 0] - pairs[:, 1]


def projection_table(projections: pd.DataFrame) -> pd.DataFrame:
    """Mean beta by block and token with its interval by item; n items."""
    keys = [*GROUP, "layer", "position"]
    found = projections.dropna(subset=["beta"]).groupby(keys, sort=False)["beta"]
    table = found.agg(value="mean", sd="std", n="count").reset_index()
    half = 1.96 * table["sd"] / np.sqrt(table["n"])
    return table.assign(low=table["value"] - half, high=table["value"] + half).drop(columns="sd")
