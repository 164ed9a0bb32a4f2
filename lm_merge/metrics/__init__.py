"""Measures of what a merge did to representations: pure functions of tensors."""

from lm_merge.metrics.arcs import arc_deviation, arc_deviation_rad, arc_ratio, midness
from lm_merge.metrics.attribution import (
    adaptation_index,
    attribution,
    log_bayes_factor_nats,
    log_ratio_nats,
    state_projection,
)
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
from lm_merge.metrics.latency import Latency, adaptation_gap, first_run, settled
from lm_merge.metrics.minibatch_cka import CKAEstimate, MinibatchCKA, cka_within_texts

__all__ = [
    "CKA",
    "CKAEstimate",
    "CKAFitter",
    "Jet",
    "Latency",
    "MinibatchCKA",
    "adaptation_gap",
    "adaptation_index",
    "arc_deviation",
    "arc_deviation_rad",
    "arc_ratio",
    "attribution",
    "cka_within_texts",
    "cross_entropy_jet",
    "first_run",
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
    "log_bayes_factor_nats",
    "log_ratio_nats",
    "midness",
    "settled",
    "state_projection",
]
