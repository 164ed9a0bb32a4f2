"""Measures of what a merge did to representations: pure functions of tensors."""

from lm_merge.metrics.arcs import arc_deviation, arc_deviation_rad, arc_ratio, midness
from lm_merge.metrics.cka import CKA, CKAFitter, PairwiseCKA, linear_cka
from lm_merge.metrics.means import ClusteredMean, Mean

__all__ = [
    "CKA",
    "CKAFitter",
    "ClusteredMean",
    "Mean",
    "PairwiseCKA",
    "arc_deviation",
    "arc_deviation_rad",
    "arc_ratio",
    "linear_cka",
    "midness",
]
