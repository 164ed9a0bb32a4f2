"""Merge methods for adapters: those of weight space, applied to updates, and the mean of factors."""

from dataclasses import dataclass
from typing import Literal

from lm_merge.operators.weight_methods import WEIGHT_METHODS, WeightMethod

Form = Literal["sum", "factors", "dense"]
NOT_FOR_UPDATES = {
    "fisher": "it needs statistics of whole models",
    "regmean": "it needs statistics of whole models",
    "passthrough": "it copies tensors of one model; give that adapter alone",
}


@dataclass(frozen=True)
class AdapterMethod:
    """A method and what its result is, exactly.

    form: "sum", a weighted sum of updates, which is a LoRA of the summed rank (also where angles decide
    the weights); "factors", a LoRA of the same rank; "dense", a full matrix.
    """

    name: str
    form: Form
    weight_method: WeightMethod | None

    @property
    def exact_lora(self) -> bool:
        """Whether the result can be written as a LoRA without loss."""
        return self.form != "dense"


def get_adapter_method(name: str) -> AdapterMethod:
    """The method of that name; ValueError with the known names otherwise."""
    if name in NOT_FOR_UPDATES:
        raise ValueError(f"operator {name!r} does not merge adapters: {NOT_FOR_UPDATES[name]}")
    if name not in ADAPTER_METHODS:
        known = ", ".join(sorted(ADAPTER_METHODS))
        raise ValueError(f"unknown operator {name!r} of space 'adapters'; choose from {known}")
    return ADAPTER_METHODS[name]


def _form(method: WeightMethod) -> Form:
    """A sum, unless values are thinned or elected one by one."""
    elementwise = method.thin is not None or method.combine is not WEIGHT_METHODS["linear"].combine
    return "dense" if elementwise else "sum"


ADAPTER_METHODS: dict[str, AdapterMethod] = {
    name: AdapterMethod(name, _form(method), method)
    for name, method in WEIGHT_METHODS.items()
    if name not in NOT_FOR_UPDATES
} | {"factor_mean": AdapterMethod("factor_mean", "factors", None)}
