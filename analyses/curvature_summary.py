"""Token-by-token curvature summed up by block and alpha, and how well the bound ranks the gaps."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from lm_merge.evaluation import wilson_interval
from lm_merge.statistics.clustered_means import ClusteredMean
from lm_merge.statistics.intervals import NORMAL_95
from lm_merge.statistics.rank_correlation import N_RESAMPLES, percentile_interval, spearman

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
    the tokens with a bound on which it holds (Wilson interval). Undefined values are left out of n.
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
    half = NORMAL_95 * found.standard_error
    values = tokens[metric].to_numpy(dtype=float)
    values = values[~np.isnan(values)]
    n, nan = len(values), float("nan")
    bare = {"metric": metric, "low": nan, "high": nan, "n": n}
    interval = {"low": found.value - half, "high": found.value + half}
    return [
        bare | {"statistic": "mean", "value": found.value} | interval,
        bare | {"statistic": "median", "value": float(np.median(values)) if n else nan},
        bare | {"statistic": "max", "value": float(values.max()) if n else nan},
    ]


def _share_held(tokens: pd.DataFrame) -> dict[str, Any]:
    held = tokens["holds"].to_numpy(dtype=float)
    n, n_held = int(np.isfinite(held).sum()), int(np.nansum(held))
    share, (low, high) = np.nan, (np.nan, np.nan)
    if n:
        share, (low, high) = n_held / n, wilson_interval(n_held, n)
    interval = {"low": low, "high": high, "n": n}
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


def gap_rank_correlations(tokens: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Spearman's rank correlation of bound and gap; over, spearman, low, high, n.

    over: "blocks and alphas", means over tokens of each block at each alpha; "tokens", every token at
    every block and alpha; "tokens, block <the last that was measured>". Tokens without a bound are
    left out. In [-1, 1], NaN where one side is constant. The 95 % interval is a bootstrap over texts,
    NaN for a single one: it tells what other texts would give, not another pair.
    """
    last = int(tokens["layer"].to_numpy().max())
    at_last = tokens["layer"] == last
    defined = _defined(tokens)
    rows = [
        {"over": "blocks and alphas"} | _cells(tokens.loc[defined], np.random.default_rng(seed)),
        {"over": "tokens"} | _tokens(tokens.loc[defined], np.random.default_rng(seed)),
        {"over": f"tokens, block {last}"}
        | _tokens(tokens.loc[defined & at_last], np.random.default_rng(seed)),
    ]
    return pd.DataFrame(rows)


def _cells(tokens: pd.DataFrame, generator: np.random.Generator) -> dict[str, Any]:
    if tokens.empty:
        return _nothing()
    cells = tokens.assign(count=1.0).pivot_table(
        index="text",
        columns=["layer", "alpha"],
        values=["bound_nats", "gap_nats", "count"],
        aggfunc="sum",
        fill_value=0.0,  # no token of this text has a bound there
    )
    bounds, gaps, counts = (
        np.asarray(cells[name], dtype=float) for name in ("bound_nats", "gap_nats", "count")
    )
    texts = generator.integers(len(cells), size=(N_RESAMPLES, len(cells)))
    n, n_drawn = counts.sum(axis=0), counts[texts].sum(axis=1)
    n_drawn = np.where(n_drawn > 0, n_drawn, np.nan)  # such a draw has no correlation
    drawn = bounds[texts].sum(axis=1) / n_drawn, gaps[texts].sum(axis=1) / n_drawn
    low, high = percentile_interval(spearman(*drawn))
    if len(cells) < 2:
        low = high = float("nan")
    found = float(spearman(bounds.sum(axis=0) / n, gaps.sum(axis=0) / n))
    return {"spearman": found, "low": low, "high": high, "n": bounds.shape[1]}


def _tokens(tokens: pd.DataFrame, generator: np.random.Generator) -> dict[str, Any]:
    if tokens.empty:
        return _nothing()
    pairs = tokens[["bound_nats", "gap_nats"]].to_numpy(dtype=float)
    of_text = [np.flatnonzero(tokens.text == text) for text in tokens.text.unique()]
    drawn = []
    for _ in range(N_RESAMPLES // 10):
        chosen = generator.integers(len(of_text), size=len(of_text))
        rows = pairs[np.concatenate([of_text[text] for text in chosen])]
        drawn.append(float(spearman(*rows.T)))
    low, high = percentile_interval(np.array(drawn))
    if len(of_text) < 2:
        low = high = float("nan")
    return {"spearman": float(spearman(*pairs.T)), "low": low, "high": high, "n": len(pairs)}


def _nothing() -> dict[str, float]:
    return {"spearman": np.nan, "low": np.nan, "high": np.nan, "n": 0}
