"""Coefficients: how much of each model goes in, as weights `[n_models, *#batch, 1]`, host first."""

from lm_merge.coefficients.gates import AgreementGate
from lm_merge.coefficients.shares import (
    Alpha,
    Gate,
    alpha_from_lambda,
    constant_weights,
    donor_shares,
    gate_weights,
)

__all__ = [
    "AgreementGate",
    "Alpha",
    "Gate",
    "alpha_from_lambda",
    "constant_weights",
    "donor_shares",
    "gate_weights",
]
