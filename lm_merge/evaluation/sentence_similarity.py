"""Similarity of sentences: cosines of embeddings against scores that people gave."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from torch import nn

from lm_merge.accumulation import wide
from lm_merge.models.encoder import Encoder
from lm_merge.statistics.bootstrap import bca_interval
from lm_merge.statistics.rank_correlation import spearman

N_RESAMPLES = 1_999


@dataclass(frozen=True)
class ScoredPairs:
    """Two sentences a pair and the score of their similarity, in any unit."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    scores: Float[ndarray, " pairs"]


def read_pairs(path: str | Path) -> ScoredPairs:
    """Pairs from a text file, one a line: sentence, sentence, score, by tabs (.tsv) or commas (.csv).

    A first line whose last field is no number is a header. Raises OSError where there is no such file,
    ValueError for a line without two sentences and a score.
    """
    path = Path(path)
    if not path.is_file():
        raise OSError(
            f"pairs {str(path)!r} is no file; give one with two sentences and a score a line"
        )
    separator = "," if path.suffix == ".csv" else "\t"
    table = pd.read_csv(
        path, sep=separator, header=None, dtype=str, quoting=0 if separator == "," else 3
    )
    if table.shape[1] != 3:
        raise ValueError(
            f"{path} has {table.shape[1]} fields a line; give sentence, sentence, score"
        )
    scores = pd.Series(pd.to_numeric(table[2], errors="coerce"))
    if bool(pd.isna(scores.iloc[0])):
        table, scores = table.iloc[1:], scores.iloc[1:]
    wrong = table.index[scores.isna().to_numpy() | table[[0, 1]].isna().to_numpy().any(axis=1)]
    if len(wrong) or not len(table):
        where = f"line {wrong[0] + 1}" if len(wrong) else "it"
        raise ValueError(f"{path}: {where} has no two sentences and a score")
    return ScoredPairs(tuple(table[0]), tuple(table[1]), scores.to_numpy(dtype=float))


def similarity_row(encoder: Encoder, pairs: ScoredPairs, **options: Any) -> dict[str, float | int]:
    """spearman of cosines and scores with low and high (95 %, BCa over pairs), and n."""
    one, other = (encoder.embeddings(texts, **options) for texts in (pairs.first, pairs.second))
    cosines = wide(nn.functional.cosine_similarity(one, other)).cpu().numpy()
    low, high = bca_interval(
        [cosines, pairs.scores],
        lambda x, y, axis=-1: spearman(np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1)),
        n_resamples=N_RESAMPLES,
    )
    found = float(spearman(cosines, pairs.scores))
    return {"spearman": found, "low": low, "high": high, "n": len(cosines)}
