"""The target with masked components in the place of its linear maps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.decomposition.components import Factors, Layer
from lm_merge.decomposition.masks import LayerMask

Apply = Callable[[str, Tensor], Tensor]  # (name of a layer, its input) -> its output


@runtime_checkable
class Batch(Protocol):
    """Inputs of a target for all seeds.

    weights: how many examples each row represents, [seeds, rows]; 0 for padding. n_rows: rows of each
    seed that are not padding.
    """

    @property
    def weights(self) -> Float[Tensor, "seeds rows"]: ...

    @property
    def n_rows(self) -> Sequence[int]: ...


@runtime_checkable
class Target(Protocol):
    """A frozen model whose linear maps are decomposed."""

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The maps to decompose, in the order of the forward pass."""
        ...

    def batch(self, generators: Sequence[torch.Generator], n_examples: int) -> Batch:
        """A batch of training data, drawn for each seed by its generator."""
        ...

    def forward(self, batch: Any, apply: Apply, copies: int = 1) -> Tensor:
        """Outputs [seeds, copies * rows, d_output], every layer's map computed by `apply`.

        `apply` gets inputs [seeds, copies * rows, d_in] (token ids without the last axis).
        """
        ...

    def divergence(self, output: Tensor, clean: Tensor) -> Float[Tensor, "seeds rows"]:
        """How far outputs are from the target's, row by row."""
        ...


class CleanPass:
    """`Apply` of the target as it is; keeps the inputs of every layer."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self.layers = layers
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}

    def __call__(self, name: str, a: Tensor) -> Tensor:
        self.inputs[name] = a
        self.outputs[name] = self.layers[name].clean(a)
        return self.outputs[name]


class MaskedPass:
    """`Apply` of several masked copies at once: copy p has the masks of `parts[p]`, by layer.

    A layer that a part does not name is the target's own in that copy.
    """

    def __init__(
        self, factors: Mapping[str, Factors], parts: Sequence[Mapping[str, LayerMask]]
    ) -> None:
        self.factors = factors
        self.n_parts = len(parts)
        self.masked: dict[str, list[int]] = {}
        self.masks: dict[str, LayerMask] = {}
        self.outputs: dict[str, Tensor] = {}
        for name in factors:
            places = [place for place, masks in enumerate(parts) if name in masks]
            if places:
                self.masked[name] = places
                self.masks[name] = LayerMask.joined([parts[place][name] for place in places])

    def __call__(self, name: str, a: Tensor) -> Tensor:
        self.outputs[name] = self._output(self.factors[name], a)
        return self.outputs[name]

    def _output(self, factors: Factors, a: Tensor) -> Tensor:
        layer, places = factors.layer, self.masked.get(factors.layer.name)
        if places is None:
            return layer.clean(a)
        masks = self.masks[layer.name]
        if len(places) == self.n_parts:
            out = factors.masked(a, masks.mask, masks.rest)
        else:
            copies = a.unflatten(1, (self.n_parts, -1))
            some = copies[:, places].flatten(1, 2)
            masked = factors.masked(some, masks.mask, masks.rest)
            masked = masked.unflatten(1, (len(places), -1))
            others = [place for place in range(self.n_parts) if place not in places]
            whole = layer.full_map(copies[:, others].flatten(1, 2)).unflatten(1, (len(others), -1))
            order = sorted(range(self.n_parts), key=[*places, *others].__getitem__)
            out = torch.cat([masked, whole], dim=1)[:, order].flatten(1, 2)
        always = layer.always(a)
        return out if always is None else out + always
