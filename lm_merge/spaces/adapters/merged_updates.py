"""The merged update of every module: as a low-rank sum where the method allows it, else as a matrix."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from lm_merge.coefficients.groups import Row
from lm_merge.models.adapters import Adapter
from lm_merge.operators.low_rank import LowRank, factor_mean, gram, inner_product, low_rank_sum
from lm_merge.operators.random_masks import mask_seed
from lm_merge.operators.span import weights_in_span
from lm_merge.spaces.adapters.keys import KeyMode, shared_keys, updates_of
from lm_merge.spaces.adapters.methods import AdapterMethod
from lm_merge.spaces.adapters.options import MethodOptions
from lm_merge.spaces.adapters.thresholds import GlobalThreshold, global_threshold
from lm_merge.spaces.adapters.transforms import (
    Step,
    elected,
    equal_norm_factors,
    scaled,
    transformed,
)


class MergedUpdates:
    """Adapters, a method and a row of coefficients for every module; computes one module at a time.

    rows: module path -> one coefficient a source, $c_i$. A sum is $\\sum_i c_i D_i$. Other methods
    take the parts $c_i / \\sum_j c_j$, and their result times $\\sum_j c_j$, the donors' total weight.
    """

    def __init__(
        self,
        adapters: Sequence[Adapter],
        method: AdapterMethod,
        options: MethodOptions,
        steps: Sequence[Step] = (),
        key_mode: KeyMode = "union",
    ) -> None:
        self.adapters, self.method, self.options = tuple(adapters), method, options
        self.steps = tuple(steps)
        shared = shared_keys(self.adapters, key_mode)
        self.keys, self.notes = shared.keys, shared.notes
        self._updates = {key: updates_of(self.adapters, key) for key in self.keys}
        names = [step.name for step in self.steps]
        if "elect" in names[:-1]:
            raise ValueError("transforms: 'elect' must come last, and only once")
        if "equal_norm" in names:
            self._make_norms_equal()
        self.rows: Mapping[str, Row] = {}

    @property
    def is_low_rank(self) -> bool:
        """Whether every merged update is, exactly, a product of two thin factors."""
        return self.method.form != "dense" and all(step.keeps_rank for step in self.steps)

    def updates(self, key: str) -> list[LowRank]:
        """The update of a module by every source; rank 0 where a source has none."""
        return self._updates[key]

    def weights(self, key: str) -> Row:
        """What multiplies each source's update in the sum; needs a method whose result is one."""
        direction = self._direction
        row = self.rows[key]
        if direction is None or not any(row):
            return row
        total = _total(row, key, self.method.name)
        parts = torch.tensor([one / total for one in row], dtype=torch.float64).unsqueeze(-1)
        turned = weights_in_span(_from_first(gram(self.updates(key))), parts, direction)
        if not turned.isfinite().all():
            raise ValueError(
                f"operator {self.method.name!r} is undefined for the updates of {key!r} (opposite or "
                "zero updates); use 'linear'"
            )
        return tuple(float(one) * total for one in turned)

    def low_rank(self, key: str) -> LowRank:
        """The merged update as factors; ValueError for a method whose result is a full matrix."""
        self.require_low_rank()
        if self.method.form == "factors":
            return factor_mean(self.updates(key), self.rows[key])
        return low_rank_sum(self.updates(key), self.weights(key))

    def require_low_rank(self) -> None:
        """Raise ValueError, with the way out, where the merged updates are full matrices."""
        if not self.is_low_rank:
            raise ValueError(
                f"operator {self.method.name!r} with these transforms gives full matrices, which are no "
                "LoRA; recompress them (form 'svd') or take form 'delta' or 'model'"
            )

    def dense(self, key: str) -> Float[Tensor, "d_out d_in"]:
        """The merged update as a matrix in float32 or wider."""
        if self.is_low_rank:
            return self.low_rank(key).dense()
        row = self.rows[key]
        if not any(row):
            return torch.zeros(self.updates(key)[0].shape)
        return self._combined(self.matrices(key), row, key)

    def matrices(self, key: str) -> Float[Tensor, "n_sources d_out d_in"]:
        """Every source's update of a module as a matrix, changed and thinned, in float32 or wider."""
        numbers = range(len(self.adapters))
        matrices = torch.stack([self._thinned(key, number) for number in numbers])
        return elected(matrices) if any(one.name == "elect" for one in self.steps) else matrices

    @property
    def is_sum(self) -> bool:
        """Whether the result is the sum of the changed updates times the coefficients."""
        method = self.method.weight_method
        return self.method.form == "sum" and method is not None and method.direction is None

    def _combined(
        self, matrices: Float[Tensor, "n_models d_out d_in"], row: Row, key: str
    ) -> Float[Tensor, "d_out d_in"]:
        if self.method.form == "factors":
            raise ValueError("factor_mean takes no transforms that act on single values")
        method = self.method.weight_method
        assert method is not None
        normalize = self.options.normalize
        elects = method.normalize is not None and normalize is not None and self._elects
        total = _total(row, key, self.method.name) if elects and normalize else 1.0
        weights = torch.tensor([one / total for one in row], dtype=matrices.dtype).view(-1, 1, 1)
        if elects:
            return total * method.combine(matrices, weights, normalize=normalize)
        return method.combine(matrices, weights)

    @property
    def _elects(self) -> bool:
        """Whether values are summed only where their signs agree."""
        method = self.method.weight_method
        return method is not None and method.combine.__name__ == "agreeing_sum"

    def _thinned(self, key: str, source: int) -> Float[Tensor, "d_out d_in"]:
        matrix = self._transformed(key, source)
        method = self.method.weight_method
        if method is None or method.thin is None:
            return matrix
        if self.options.trim == "global":
            return self._thresholds[source].keep(matrix, key)
        settings: dict[str, Any] = dict(self.options.thinning)
        if settings["density"] == 1:
            return matrix
        if method.random:
            settings["seed"] = mask_seed(self.options.seed, key, source)
        if method.thin_by_row:
            return method.thin(matrix, **settings)
        return method.thin(matrix.flatten(), **settings).view_as(matrix)

    def _transformed(self, key: str, source: int) -> Float[Tensor, "d_out d_in"]:
        update = self.updates(key)[source]
        dtype = torch.promote_types(update.a.dtype, torch.float32)
        return transformed(update.to(dtype=dtype).dense(), self.steps, key=key, source=source)

    @cached_property
    def _thresholds(self) -> list[GlobalThreshold]:
        """Which values of each source stay, by one threshold over all of its modules."""
        density = self.options.thinning["density"]
        return [
            global_threshold(lambda key, n=number: self._transformed(key, n), self.keys, density)
            for number in range(len(self.adapters))
        ]

    @property
    def _direction(self) -> Any:
        method = self.method.weight_method
        if method is None or method.direction is None:
            return None
        return partial(method.direction, **self.options.direction)

    def _make_norms_equal(self) -> None:
        if self.steps[0].name != "equal_norm" or len({one.name for one in self.steps}) < len(
            self.steps
        ):
            raise ValueError(
                "transforms: 'equal_norm' must come first, and each transform only once"
            )
        sums = [
            sum(inner_product(ups[n], ups[n]) for ups in self._updates.values())
            for n in range(len(self.adapters))
        ]
        factors = equal_norm_factors(sums)
        self._updates = {
            key: [scaled(one, factor) for one, factor in zip(ups, factors, strict=True)]
            for key, ups in self._updates.items()
        }


def _total(row: Row, key: str, operator: str) -> float:
    total = sum(row)
    if total == 0:
        raise ValueError(
            f"coefficients {list(row)} of {key!r} sum to 0, and operator {operator!r} takes each "
            "source's share of the sum; use 'linear'"
        )
    return total


def _from_first(products: Float64[Tensor, "n n"]) -> Float64[Tensor, "n n"]:
    """Inner products of the first matrix and of the others' differences from it."""
    turn = torch.eye(len(products), dtype=products.dtype)
    turn[1:, 0] = -1
    return turn @ products @ turn.T
