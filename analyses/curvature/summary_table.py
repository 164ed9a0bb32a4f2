"""Token-by-token curvature summed up by block and alpha, and how well the bound ranks the gaps."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from lm_merge.statistics.clustered_means import ClusteredMean
from lm_merge.statistics.intervals import clustered_interval, jackknife_interval
from lm_merge.statistics.rank_correlation import clustered_rank_correlation, spearman

OF_LAYER = (
    *("k_g", "k_g_closed_form", "sq_distance", "curvature_nats"),
    *("loss_host", "loss_donor", "loss_ends", "head_mismatch_nats"),
)
OF_ALPHA = ("loss_merged", "gap_nats", "bound_nats")
COLUMNS = (
    *("layer", "alpha", "operator", "space", "metric", "statistic"),
    *("value", "low", "high", "n"),
)


def tightness(tokens: pd.DataFrame) -> pd.Series:
    """Gap over bound: 1 where the bound is reached, negative where the merge gains.

    NaN where the bound is not above the float error of the gap.
    """
    return (tokens.gap_nats / tokens.bound_nats).where(tokens.bound_nats > tokens.float_error_nats)


def holds(tokens: pd.DataFrame) -> pd.Series:
    """1 where the gap stays below its bound, up to the float error of the gap, else 0.

    NaN where gap or bound is undefined: host and donor have the same stream.
    """
    held = tokens.gap_nats <= tokens.bound_nats + tokens.float_error_nats
    return held.astype(float).where(_defined(tokens))


def _defined(tokens: pd.DataFrame) -> pd.Series:
    return tokens.bound_nats.notna() & tokens.gap_nats.notna()


def summary_table(tokens: pd.DataFrame) -> pd.DataFrame:
    """Tidy rows: layer, alpha (NaN: does not depend on it), operator, space, metric, statistic, value,
    low, high, n.

    statistic: mean (with its 95 % interval, clustered by text), median or max (without); of tightness,
    whose mean is ruled by the smallest bounds, pooled (mean gap / mean bound), median or max; share, of
    the tokens with a bound on which it holds (interval by text, inside [0, 1]). Undefined values are
    left out of n.
    """
    rows = []
    tokens = tokens.assign(tightness=tightness(tokens), holds=holds(tokens))
    for layer in sorted(set(tokens["layer"])):
        of_layer = tokens.query("layer == @layer")
        operator, space = of_layer[["operator", "space"]].to_numpy()[0]
        key = {"layer": layer, "operator": operator, "space": space}
        once = of_layer.query("alpha == alpha.min()")
        for metric in OF_LAYER:
            rows += [key | {"alpha": np.nan} | row for row in _statistics(once, metric)]
        for alpha in sorted(set(of_layer["alpha"])):
            of_alpha = of_layer.query("alpha == @alpha")
            for metric in OF_ALPHA:
                rows += [key | {"alpha": alpha} | row for row in _statistics(of_alpha, metric)]
            rows += [key | {"alpha": alpha} | row for row in _tightness_rows(of_alpha)]
            rows.append(key | {"alpha": alpha} | _share_held(of_alpha))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _statistics(tokens: pd.DataFrame, metric: str) -> list[dict[str, Any]]:
    mean = ClusteredMean()
    for _, of_text in tokens.groupby("text"):
        mean.update(torch.tensor(of_text[metric].to_numpy(dtype=float)).unsqueeze(0))
    found = mean.result()
    low, high = found.interval()
    values = tokens[metric].to_numpy(dtype=float)
    values = values[~np.isnan(values)]
    n, nan = len(values), float("nan")
    bare = {"metric": metric, "low": nan, "high": nan, "n": n}
    interval = {"low": low, "high": high}
    return [
        bare | {"statistic": "mean", "value": found.value} | interval,
        bare | {"statistic": "median", "value": float(np.median(values)) if n else nan},
        bare | {"statistic": "max", "value": float(values.max()) if n else nan},
    ]


def _share_held(tokens: pd.DataFrame) -> dict[str, Any]:
    held = tokens["holds"].to_numpy(dtype=float)
    low, high = clustered_interval(held, list(tokens["text"].astype(str)), bounds=(0.0, 1.0))
    n = int(np.isfinite(held).sum())
    interval = {"low": low, "high": high, "n": n}
    share = float(np.nanmean(held)) if n else np.nan
    return {"metric": "holds_frac", "statistic": "share", "value": share} | interval


def _tightness_rows(tokens: pd.DataFrame) -> list[dict[str, Any]]:
    defined = tokens.query("tightness.notna()")[["gap_nats", "bound_nats", "tightness"]]
    gaps, bounds, tight = defined.to_numpy(dtype=float).T
    values = {"pooled": np.nan, "median": np.nan, "max": np.nan}
    if len(tight):
        pooled = gaps.sum() / bounds.sum()
        values = {"pooled": pooled, "median": np.median(tight), "max": tight.max()}
    common = {"metric": "tightness", "low": np.nan, "high": np.nan, "n": len(tight)}
    return [common | {"statistic": key, "value": float(one)} for key, one in values.items()]


def gap_rank_correlations(tokens: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of bound and gap; over, spearman, low, high, n.

    over: "blocks and alphas", means over tokens of each block at each alpha; "tokens", every token at
    every block and alpha; "tokens, block <the last that was measured>". Tokens without a bound are
    left out. In [-1, 1], NaN where one side is constant. The 95 % interval leaves out each text in
    turn (jackknife); it is NaN for a single text. It is about other texts, not another pair.
    """
    last = int(tokens["layer"].to_numpy().max())
    defined = tokens.loc[_defined(tokens)]
    rows = [
        {"over": "blocks and alphas"} | _cells(defined),
        {"over": "tokens"} | _tokens(defined),
        {"over": f"tokens, block {last}"} | _tokens(defined.loc[defined["layer"] == last]),
    ]
    return pd.DataFrame(rows)


def _cells(tokens: pd.DataFrame) -> dict[str, Any]:
    cells = tokens.assign(count=1.0).pivot_table(
        index="text",
        columns=["layer", "alpha"],
        values=["bound_nats", "gap_nats", "count"],
        aggfunc="sum",
        fill_value=0.0,  # no token of this text has a bound there
    )
    if tokens.empty:
        return {"spearman": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    sums = [cells[name].to_numpy(dtype=float) for name in ("bound_nats", "gap_nats", "count")]

    def correlation(kept: np.ndarray) -> float:
        bounds, gaps, counts = (one[kept].sum(axis=0) for one in sums)
        counts = np.where(counts > 0, counts, np.nan)  # no correlation without these texts
        return float(spearman(bounds / counts, gaps / counts))

    everyone = np.arange(len(cells))
    found = correlation(everyone)
    without = np.array([correlation(everyone[everyone != one]) for one in everyone])
    low, high = jackknife_interval(found, without, correlation=True)
    return {"spearman": found, "low": low, "high": high, "n": sums[0].shape[1]}


def _tokens(tokens: pd.DataFrame) -> dict[str, Any]:
    bounds, gaps = tokens[["bound_nats", "gap_nats"]].to_numpy(dtype=float).T
    found, low, high = clustered_rank_correlation(bounds, gaps, tokens["text"].to_numpy())
    return {"spearman": found, "low": low, "high": high, "n": len(tokens)}
