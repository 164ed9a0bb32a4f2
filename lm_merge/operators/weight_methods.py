"""Merge methods of weight space, each put together from the same few operators.

A method takes the models' tensors, or with an ancestor their task vectors (tensor - ancestor's),
thins each if it has `thin`, turns the given weights into others by angles if it has `direction`, sums
by `combine`, times lambda, and adds the ancestor back. A new method is one line of WEIGHT_METHODS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lm_merge.operators.consensus import agreeing_sum
from lm_merge.operators.linear import lerp
from lm_merge.operators.random_masks import keep_random, keep_random_by_magnitude
from lm_merge.operators.span import model_stock, norm_mean, slerp_unnormalized
from lm_merge.operators.sparse import keep_largest, keep_middle
from lm_merge.operators.spherical import karcher_mean, slerp

Setting = int | float | bool
TensorFunction = Callable[..., Tensor]


@dataclass(frozen=True)
class WeightMethod:
    """What a method is made of and what it needs.

    direction: an operator that commutes with rotations and stays in the span of its inputs; reductions
        run over the whole tensor, or over rows where an option says so.
    thin: takes one flat task vector (rows where `thin_by_row`) and the parameters of `thinning`.
    base: the ancestor; "needed" and "allowed" use task vectors where there is one.
    normalize: default of the parameter: weights are divided by their sum (for a consensus, by the sum
        of those that agree); None: there is no such parameter, the weights always sum to 1.
    settings: further parameters with their defaults; n_models: least and most, the ancestor apart.
    statistics: what of the data must be recorded first.
    """

    combine: TensorFunction = lerp
    direction: TensorFunction | None = None
    thin: TensorFunction | None = None
    thin_by_row: bool = False
    random: bool = False
    base: Literal["refused", "allowed", "needed"] = "refused"
    normalize: bool | None = False
    thinning: tuple[str, ...] = ()
    settings: tuple[tuple[str, Setting], ...] = ()
    n_models: tuple[int, int | None] = (1, None)
    statistics: Literal["gram", "fisher"] | None = None

    @property
    def parameters(self) -> dict[str, Setting]:
        """Every parameter that a recipe may give, with its default."""
        known: dict[str, Setting] = {"weight": 1.0, **dict(self.settings)}
        known |= {name: THINNING[name] for name in self.thinning}
        if self.normalize is not None:
            known["normalize"] = self.normalize
        if self.base == "needed":
            known["lambda"] = 1.0
        return known


THINNING: dict[str, float] = {"density": 1.0, "gamma": 0.01, "epsilon": 0.15}
RANGES: dict[str, tuple[float, float]] = {
    "density": (0.0, 1.0),
    "gamma": (0.0, 1.0),
    "epsilon": (0.0, 0.5),
    "off_diagonal": (0.0, 1.0),
    "floor": (0.0, float("inf")),
    "max_iter": (1.0, float("inf")),
    "tol": (0.0, float("inf")),
}
ROWS = (("nuslerp_flatten", True), ("nuslerp_row_wise", False))
FISHER = (("equal_norms", False), ("floor", 0.0))
KARCHER = (("max_iter", 10), ("tol", 1e-5))

WEIGHT_METHODS: dict[str, WeightMethod] = {
    "breadcrumbs": WeightMethod(thin=keep_middle, thinning=("density", "gamma"), base="needed"),
    "breadcrumbs_ties": WeightMethod(
        agreeing_sum, thin=keep_middle, thinning=("density", "gamma"), base="needed"
    ),
    "dare_linear": WeightMethod(
        thin=keep_random, thinning=("density",), random=True, base="needed"
    ),
    "dare_ties": WeightMethod(
        agreeing_sum, thin=keep_random, thinning=("density",), random=True, base="needed"
    ),
    "della": WeightMethod(
        agreeing_sum,
        thin=keep_random_by_magnitude,
        thin_by_row=True,
        thinning=("density", "epsilon"),
        random=True,
        base="needed",
    ),
    "della_linear": WeightMethod(
        thin=keep_random_by_magnitude,
        thin_by_row=True,
        thinning=("density", "epsilon"),
        random=True,
        base="needed",
    ),
    "fisher": WeightMethod(
        normalize=None, settings=FISHER, statistics="fisher", n_models=(2, None)
    ),
    "karcher": WeightMethod(
        direction=karcher_mean, normalize=None, settings=KARCHER, n_models=(2, None)
    ),
    "linear": WeightMethod(normalize=True),
    "model_stock": WeightMethod(
        direction=model_stock,
        base="needed",
        normalize=None,
        settings=(("filter_wise", False),),
        n_models=(2, None),
    ),
    "norm_mean": WeightMethod(direction=norm_mean, normalize=None, n_models=(2, None)),
    "nuslerp": WeightMethod(
        direction=slerp_unnormalized, base="allowed", normalize=None, settings=ROWS, n_models=(2, 2)
    ),
    "passthrough": WeightMethod(settings=(("scale", 1.0),), n_models=(1, 1)),
    "regmean": WeightMethod(
        normalize=None,
        settings=(("off_diagonal", 0.9),),
        statistics="gram",
        n_models=(2, None),
    ),
    "slerp": WeightMethod(direction=slerp, normalize=None, n_models=(2, None)),
    "task_arithmetic": WeightMethod(base="needed"),
    "ties": WeightMethod(
        agreeing_sum, thin=keep_largest, thinning=("density",), base="needed", normalize=True
    ),
}


def get_weight_method(name: str) -> WeightMethod:
    """The method of that name; ValueError with the known names otherwise."""
    if name not in WEIGHT_METHODS:
        known = ", ".join(sorted(WEIGHT_METHODS))
        raise ValueError(f"unknown merge method {name!r} of space 'weights'; choose from {known}")
    return WEIGHT_METHODS[name]
