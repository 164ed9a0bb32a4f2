"""A merge's updates on its host: in outputs or in weights, in one view or both, and away again."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_merge.models import HookedLM
from lm_merge.spaces.adapters.attached import (
    StackedUpdate,
    StreamedUpdate,
    hooked_updates,
    merged_weight,
    replaced_tensors,
)
from lm_merge.spaces.adapters.heads import Heads
from lm_merge.spaces.adapters.hooked_modules import modules_in_hooked_view
from lm_merge.spaces.adapters.merged_updates import MergedUpdates
from lm_merge.spaces.host_lock import HostLock


class Attachment:
    """The updates of a merge on its host, as stacked factors or as weights, made when first needed.

    modules: path -> the host's module that is updated.
    """

    def __init__(
        self, host: HookedLM, updates: MergedUpdates, modules: Mapping[str, nn.Module]
    ) -> None:
        self.host, self.updates, self.modules = host, updates, modules
        self._stacked: dict[str, StackedUpdate] = {}
        self._streamed: dict[str, StreamedUpdate] | None = None
        self._dense: dict[str, Tensor] | None = None
        self._folded = False
        # the host's own weights while others are in their place
        self._own: dict[str, Tensor] | None = None

    @property
    def fuses(self) -> bool:
        """Whether the updates are added to outputs; False where matrices are put into the weights."""
        return self.updates.is_low_rank and self.updates.method.form == "sum" and not self._folded

    @contextmanager
    def folded(self, lock: HostLock) -> Iterator[None]:
        """Inside, a sum is put into the weights, too, by whatever attaches the updates."""
        if lock.holds("native") or lock.holds("hooked"):
            raise RuntimeError("the merge is inside its hooks: leave them before it is folded")
        fused, self._folded = self.fuses, True
        try:
            yield
        finally:
            self._folded = False
            if fused:
                self._dense = None  # the copy of the weights is not kept

    @contextmanager
    def attached(self, view: str, lock: HostLock, heads: Heads) -> Iterator[None]:
        """Inside, a view of the host runs with the updates and heads; nothing changes where it already
        does. Both views share the weights, so what replaces them is put there once."""
        with lock.held(view) as nested, ExitStack() as stack:
            if not nested:
                shared = view == "native" or not lock.holds("native")
                for context in self._contexts(view, heads, in_weights=shared):
                    stack.enter_context(context)
            yield

    @contextmanager
    def weights_in_place(self, lock: HostLock, heads: Heads) -> Iterator[None]:
        """Inside, the host's own weights hold the merged updates and heads."""
        with lock.held("native") as nested, ExitStack() as stack:
            if nested:
                raise RuntimeError("leave the merge's hooks before its weights are written")
            stack.enter_context(self._replaced_weights())
            if heads:
                stack.enter_context(self._replaced_heads(heads))
            yield

    @contextmanager
    def _replaced_weights(self) -> Iterator[None]:
        own = {key: parameter.data for key, parameter in self._parameters().items()}
        with replaced_tensors(self._parameters(), self._dense_weights()):
            self._own = own
            try:
                yield
            finally:
                self._own = None

    @contextmanager
    def coefficient_tensors(
        self, rows: Mapping[str, Float[Tensor, " n_sources"]]
    ) -> Iterator[None]:
        """Inside, the sum runs with coefficients that are tensors, through which gradients flow.

        Updates that transforms make full matrices are built module by module, in every pass.
        Raises ValueError for an operator whose result is not a sum with these coefficients.
        """
        if not self.updates.is_sum:
            raise ValueError(
                f"operator {self.updates.method.name!r} is not a sum of updates, so it has no gradient "
                "by its coefficients; take operator 'linear'"
            )
        if self._own is not None:
            raise RuntimeError(
                "the updates are in the host's weights, through which no gradient of a coefficient "
                "flows; leave the merge's hooks first"
            )
        if not self.fuses:
            matrices = {key: partial(self.updates.matrices, key) for key in rows}
            self._streamed = {key: StreamedUpdate(matrices[key], row) for key, row in rows.items()}
            try:
                yield
            finally:
                self._streamed = None
            return
        stacked = self.stack()
        try:
            for key, row in rows.items():
                stacked[key].set_row(row)
            yield
        finally:
            for key in rows:
                stacked[key].set_row(torch.tensor(self.updates.weights(key)))

    def rows_changed(self) -> None:
        """Take the coefficients that the updates now have, from the next forward pass on."""
        self._dense = None
        for key, stacked in self._stacked.items():
            stacked.set_row(torch.tensor(self.updates.weights(key)))
        if self._own is not None:  # updates are added to the host's own weights
            self._put(self._own)
            self._put(self._dense_weights())

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        for key, parameter in self._parameters().items():
            parameter.data = weights[key]

    def stack(self) -> dict[str, StackedUpdate]:
        """Every module's stacked factors: copies on the device, made when first needed."""
        for key, module in self.modules.items():
            if key not in self._stacked:
                self._stacked[key] = StackedUpdate(module, self.updates.updates(key))
                self._stacked[key].set_row(torch.tensor(self.updates.weights(key)))
        return self._stacked

    def _contexts(
        self, view: str, heads: Heads, *, in_weights: bool
    ) -> Iterator[AbstractContextManager[None]]:
        modules = self.modules
        if view == "hooked":  # built and compared before a weight is replaced, which it may copy
            adds = self.fuses or self._streamed is not None
            modules = modules_in_hooked_view(self.host, modules, same_parameter=not adds)
        if self._own is not None:
            return
        if self.fuses or self._streamed is not None:
            yield hooked_updates(modules, self._streamed or self.stack())
        elif in_weights:
            yield self._replaced_weights()
        if heads and in_weights:
            yield self._replaced_heads(heads)

    def _dense_weights(self) -> dict[str, Tensor]:
        """Every module's weight with its merged update; kept until a coefficient changes."""
        if self._dense is None:
            self._check_not_tied()
            self._dense = {
                key: merged_weight(module, self.updates.dense(key))
                for key, module in self.modules.items()
            }
        return self._dense

    def _check_not_tied(self) -> None:
        """Raise ValueError for a weight that another module uses, too: it would change with it."""
        owners: dict[int, list[str]] = {}
        native = self.host.require_native("an adapter merge")
        for name, parameter in native.named_parameters(remove_duplicate=False):
            owners.setdefault(id(parameter), []).append(name)
        for key, parameter in self._parameters().items():
            shared = owners[id(parameter)]
            if len(shared) > 1:
                raise ValueError(
                    f"{key!r} shares its weight with {', '.join(shared)} (tied), so operator "
                    f"{self.updates.method.name!r} would change them, too; use 'linear'"
                )

    def _parameters(self) -> dict[str, nn.Parameter]:
        return {key: module._parameters["weight"] for key, module in self.modules.items()}  # pyright: ignore[reportReturnType]

    def _replaced_heads(self, heads: Heads) -> AbstractContextManager[None]:
        native = self.host.require_native("an adapter merge")
        own = dict(native.named_parameters(remove_duplicate=False))
        moved = {key: value.to(own[key].device, own[key].dtype) for key, value in heads.items()}
        return replaced_tensors({key: own[key] for key in heads}, moved)
