"""Measures of what a merge did to representations: pure functions of tensors."""

from lm_merge.metrics.arcs import arc_deviation, arc_deviation_rad, arc_ratio, midness
from lm_merge.metrics.cka import CKA, CKAFitter, linear_cka
from lm_merge.metrics.curvature import (
    cross_entropy_jet,
    gap_bound_nats,
    gap_nats,
    gauss_legendre,
    integral_gap_nats,
    k_g,
    k_g_closed_form,
)
from lm_merge.metrics.divergence import js_nats, kl_nats
from lm_merge.metrics.jets import Jet, jet
from lm_merge.metrics.minibatch_cka import CKAEstimate, MinibatchCKA, cka_within_texts

__all__ = [
    "CKA",
    "CKAEstimate",
    "CKAFitter",
    "Jet",
    "MinibatchCKA",
    "arc_deviation",
    "arc_deviation_rad",
    "arc_ratio",
    "cka_within_texts",
    "cross_entropy_jet",
    "gap_bound_nats",
    "gap_nats",
    "gauss_legendre",
    "integral_gap_nats",
    "jet",
    "js_nats",
    "k_g",
    "k_g_closed_form",
    "kl_nats",
    "linear_cka",
    "midness",
]
