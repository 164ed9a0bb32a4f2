"""Coefficients: how much of each model goes in, as weights `[n_models, *#batch, 1]`, host first."""

from lm_merge.coefficients.gates import (
    AgreementGate,
    ConfidenceGate,
    ScheduleGate,
    wants_generated,
)
from lm_merge.coefficients.shares import (
    Alpha,
    Gate,
    alpha_from_lambda,
    constant_weights,
    gate_weights,
    shares_by_layer,
)

__all__ = [
    "AgreementGate",
    "Alpha",
    "ConfidenceGate",
    "Gate",
    "ScheduleGate",
    "alpha_from_lambda",
    "constant_weights",
    "gate_weights",
    "shares_by_layer",
    "wants_generated",
]
