"""The streams of all donors, and of their ancestor, next to one host."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lm_merge.generation.static.obstacles import weights_key
from lm_merge.models import HookedLM
from lm_merge.spaces.latents.donor_stream import DonorStream
from lm_merge.spaces.latents.hooked_transformer_stream import HookedTransformerStream
from lm_merge.spaces.latents.latent_pass import LatentPass
from lm_merge.spaces.latents.state_stream import ForwardInputs, StateStream


@dataclass(frozen=True)
class DonorStates:
    """At one block, of the donors with a part of alpha there: streams, parts, states; and the base."""

    streams: list[StateStream]
    shares: list[float]
    states: list[Tensor]
    base: Tensor | None


class DonorStreams:
    """Runs donors and ancestor on the host's tokens and hands over their states block by block.

    shares: merged block -> the donors' parts of alpha; a donor stops at the last block in which its
    part is not 0. coupled: they go on from what `resume` gives them.
    """

    def __init__(
        self,
        donors: Sequence[HookedLM],
        base: HookedLM | None,
        shares: Mapping[int, tuple[float, ...]],
        *,
        coupled: bool,
    ) -> None:
        self._shares, self._coupled = shares, coupled
        self._donors = [
            _stream(donor, [at for at, parts in shares.items() if parts[i] != 0], coupled)
            for i, donor in enumerate(donors)
        ]
        self._base = None if base is None else _stream(base, list(shares), coupled)

    def new_caches(self, batch: int) -> list[Any]:
        """An empty cache for each model that runs."""
        return [stream.new_cache(batch) for stream in self._all]

    @property
    def configs(self) -> list[Any]:
        """Configuration of each model that runs, cut to its blocks; of models with a native view."""
        return [stream.config for stream in self._all if isinstance(stream, DonorStream)]

    def weights_key(self) -> Hashable:
        """Modules and addresses of the weights that run."""
        return tuple(
            weights_key(stream.body) for stream in self._all if isinstance(stream, DonorStream)
        )

    def run(self, inputs: ForwardInputs, caches: Sequence[Any] | None) -> None:
        """Run every model on new tokens."""
        streams = self._all
        for stream, own in zip(streams, caches or [None] * len(streams), strict=True):
            stream.start(inputs, own)

    def take(self, layer: int) -> DonorStates:
        """The states at a merged block, handed over once so that they do not stay in memory."""
        chosen = [
            (stream, share)
            for stream, share in zip(self._donors, self._shares[layer], strict=True)
            if share != 0
        ]
        streams, shares = [stream for stream, _ in chosen], [share for _, share in chosen]
        states = [stream.take(layer) for stream in streams]
        base = None if self._base is None else self._base.take(layer)
        return DonorStates(streams, shares, states, base)

    def resume(self, layer: int, taken: DonorStates, merged: Tensor, current: LatentPass) -> None:
        """Coupled: let every model go on from the merged state, and from its own elsewhere."""
        if not self._coupled:
            return
        own = [*zip(taken.streams, taken.states, strict=True)]
        if self._base is not None and taken.base is not None:
            own.append((self._base, taken.base))
        for stream, state in own:
            assert isinstance(stream, DonorStream)  # LatentMerge refuses to couple others
            stream.resume(layer, current.select(state, merged.to(state)))

    @property
    def _all(self) -> list[StateStream]:
        return [*self._donors, *([] if self._base is None else [self._base])]


def _stream(model: HookedLM, layers: list[int], coupled: bool) -> StateStream:
    if model.native is None:
        return HookedTransformerStream(model.hooked, layers)
    return DonorStream(model, layers, coupled=coupled)
