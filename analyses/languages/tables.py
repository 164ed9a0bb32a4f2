"""Tables of the study that follow from measured accuracies."""

from typing import Any

import numpy as np
import pandas as pd

from lm_merge.coefficients.similarity_matrix import SimilarityMatrix
from lm_merge.statistics.bootstrap import bca_interval
from lm_merge.statistics.rank_correlation import spearman

MEASURED = ["accuracy_frac", "low", "high", "n"]


def singles(transfer: pd.DataFrame) -> pd.DataFrame:
    """Rows of systems that are one model: own, the mean of all others, and the best of them.

    best_source_oracle is picked by the target's test texts, best_source_dev by its dev texts.
    """
    rows: list[dict[str, Any]] = []
    for target, cells in transfer.groupby("target", sort=False):
        others = cells[cells.source != target]
        best = {
            partition: by.loc[by.accuracy_frac.idxmax(), "source"]
            for partition, by in others.groupby("partition", sort=False)
        }
        picked = {
            "own": target,
            "best_source_oracle": best["test"],
            "best_source_dev": best["dev"],
        }
        for partition, of_part in cells.groupby("partition", sort=False):
            place = {"target": target, "partition": partition}
            for system, source in picked.items():
                cell = of_part[of_part.source == source].iloc[0]
                rows.append({"system": system, **place, **cell[MEASURED].to_dict()})
            elsewhere = of_part[of_part.source != target].accuracy_frac
            mean = {"accuracy_frac": elsewhere.mean(), "low": np.nan, "high": np.nan}
            n = int(of_part.n.iloc[0])
            rows.append({"system": "single_mean", **place, **mean, "n": n})
    return pd.DataFrame(rows).assign(seed=pd.array([pd.NA] * len(rows), dtype="Int64"))


def similarity_pairs(matrix: SimilarityMatrix, transfer: pd.DataFrame) -> pd.DataFrame:
    """Columns target, source, similarity, accuracy_frac (test): one row a pair of two locales."""
    test = transfer[(transfer.partition == "test") & (transfer.source != transfer.target)]
    similarity = [
        matrix.row(target)[source] for target, source in zip(test.target, test.source, strict=True)
    ]
    pairs = pd.DataFrame(test[["target", "source", "accuracy_frac"]]).assign(similarity=similarity)
    return pairs.reset_index(drop=True)


def correlations(pairs: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of similarity and accuracy over the sources of each target, and the mean.

    Columns target, spearman, low, high, n. The row of target "mean" has the interval (BCa) over
    targets; n is its number of targets, else that of sources.
    """
    rows: list[dict[str, Any]] = []
    for target, own in pairs.groupby("target", sort=False):
        value = spearman(own.similarity.to_numpy(), own.accuracy_frac.to_numpy())
        rows.append({"target": target, "spearman": float(value), "n": len(own)})
    values = np.array([row["spearman"] for row in rows])
    low, high = bca_interval(values)
    mean = {"target": "mean", "spearman": float(values.mean()), "low": low, "high": high}
    return pd.DataFrame([*rows, {**mean, "n": len(rows)}])
