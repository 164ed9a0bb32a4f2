"""What a merge will do: one line of work a tensor."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.operators.weight_methods import WeightMethod, get_weight_method
from lm_merge.recipes.parameters import Number
from lm_merge.recipes.weight_description import Description
from lm_merge.spaces.weights.checkpoint import Checkpoint
from lm_merge.spaces.weights.vocabulary import RowMap

PARTS = 4  # bytes a value of float32, in which merging is done


@dataclass(frozen=True)
class Input:
    """A tensor of a checkpoint, its rows put in the output's order where that is needed."""

    model: Checkpoint = field(repr=False)
    tensor: str
    rows: RowMap | None = None
    filler: Checkpoint | None = field(default=None, repr=False)

    @property
    def is_computed(self) -> bool:
        """Whether an adapter's update is added to what the file holds."""
        return self.model.is_computed(self.tensor)

    @property
    def flat(self) -> Float[Tensor, " n"]:
        """All values in one row; mapped from the file unless rows are put in order."""
        values = self.model.tensor(self.tensor)
        if self.rows is None:
            return values.reshape(-1)
        missing = self.rows.rows < 0
        ordered = values[self.rows.rows.clamp(min=0)]
        if self.filler is None:  # every row has a source
            return ordered.reshape(-1)
        ordered[missing] = self.filler.tensor(self.tensor)[missing].to(ordered.dtype)
        return ordered.reshape(-1)


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the output: what it is made of, how, and what form it takes.

    weights: one an input, the ancestor apart, already divided by their sum where the method does so;
    thinning: parameters of each input's task vector; options: settings that all inputs share; scale:
    lambda, or a passthrough's scale.
    """

    name: str
    method: str
    inputs: tuple[Input, ...]
    base: Input | None
    weights: tuple[float, ...]
    thinning: tuple[Mapping[str, Number], ...]
    options: Mapping[str, Number]
    scale: float
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def n_values(self) -> int:
        """Number of values."""
        return torch.Size(self.shape).numel()

    @property
    def n_bytes(self) -> int:
        """Bytes in the output."""
        return self.n_values * self.dtype.itemsize

    @property
    def is_copy(self) -> bool:
        """Whether the values are taken over as they are."""
        if not self.dtype.is_floating_point:
            return True
        one = len(self.inputs) == 1 and self.base is None and self.inputs[0].rows is None
        alone = one and self.method in ("passthrough", "linear") and self.weights == (1.0,)
        first = self.inputs[0]
        as_it_is = first.model.entries[first.tensor].dtype == self.dtype and not first.is_computed
        return alone and self.scale == 1 and as_it_is

    @property
    def working_bytes(self) -> int:
        """Roughly what merging it takes in memory, inputs mapped from files apart."""
        method = get_weight_method(self.method)
        whole = method.thin is not None or method.statistics == "gram" or self.by_row
        mapped = sum(one.rows is not None or one.is_computed for one in self.inputs)
        return self.n_values * PARTS * (len(self.inputs) + 3 if whole else mapped)

    @property
    def by_row(self) -> bool:
        """Whether angles are taken row by row (or column by column) of a matrix."""
        rows = self.options.get("filter_wise", False) or not self.options.get(
            "nuslerp_flatten", True
        )
        return bool(rows) and len(self.shape) > 1


@dataclass(frozen=True)
class Plan:
    """All that a merge will do; nothing has been read but headers and small files."""

    description: Description
    host: Checkpoint
    tensors: tuple[TensorPlan, ...]
    block_origins: tuple[int, ...] | None  # host's block that each output block counts as
    tokenizer_owner: Checkpoint
    notes: tuple[str, ...]
    checkpoints: tuple[Checkpoint, ...]  # all that were opened

    @property
    def n_bytes(self) -> int:
        """Bytes of all tensors in the output."""
        return sum(one.n_bytes for one in self.tensors)

    @property
    def n_read_bytes(self) -> int:
        """Bytes of all tensors read."""
        reads = [one for tensor in self.tensors for one in (*tensor.inputs, tensor.base) if one]
        return sum(one.model.entries[one.tensor].n_bytes for one in reads)


def method_of(plan: TensorPlan) -> WeightMethod:
    """What the plan's method is made of."""
    return get_weight_method(plan.method)
