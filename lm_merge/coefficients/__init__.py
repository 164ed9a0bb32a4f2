"""Coefficients: how much of each model goes in, as weights `[n_models, *#batch, 1]`, host first.

A name is imported when it is first used: coefficients of groups and their files need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_IN_GATES = ("AgreementGate", "ConfidenceGate", "ScheduleGate", "wants_generated")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'lm_merge.coefficients' has no attribute {name!r}")
    module = "gates" if name in _IN_GATES else "shares"
    value = getattr(import_module(f"lm_merge.coefficients.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
