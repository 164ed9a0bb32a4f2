"""Merge operators: pure functions `(states, weights) -> merged`, the same in every space.

`states` stacks the models' tensors, host first; `weights` has one entry a model. A new operator is
one function and one line of OPERATORS.
"""

import inspect
from collections.abc import Callable

from torch import Tensor

from lm_merge.operators.linear import lerp, regmean, task_vector
from lm_merge.operators.spherical import karcher_mean, slerp
from lm_merge.operators.steering import Steering

__all__ = [
    "OPERATORS",
    "Operator",
    "Steering",
    "get_operator",
    "karcher_mean",
    "lerp",
    "needs_base",
    "regmean",
    "slerp",
    "task_vector",
]

Operator = Callable[..., Tensor]
OPERATORS: dict[str, Operator] = {
    "lerp": lerp,
    "regmean": regmean,
    "slerp": slerp,
    "task_vector": task_vector,
}
"""Operators on states by name, as `operator` of a latent recipe; another one is one line here."""


def get_operator(name: str) -> Operator:
    """The operator of that name; ValueError with the known names otherwise."""
    if name not in OPERATORS:
        raise ValueError(f"unknown operator {name!r}; choose from {', '.join(sorted(OPERATORS))}")
    return OPERATORS[name]


def needs_base(operator: Operator) -> bool:
    """Whether an operator declares, by an argument `base`, that it needs an ancestor's states."""
    return "base" in inspect.signature(operator).parameters
