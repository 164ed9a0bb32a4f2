"""The static step of a latent merge: donors and host on tensors of fixed addresses."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from lm_merge.caches.static_cache import FullLengthCache
from lm_merge.coefficients import Alpha, ConfidenceGate
from lm_merge.generation.static.obstacles import devices_obstacle, model_obstacle, weights_key
from lm_merge.models import HookedLM
from lm_merge.models.forward_pass import hidden_of
from lm_merge.models.weight_sharing import weight_sharing_copy
from lm_merge.sites.resid_post import RESID_POST
from lm_merge.spaces.latents.donor_streams import DonorStates, DonorStreams
from lm_merge.spaces.latents.latent_pass import LatentPass
from lm_merge.spaces.latents.state_merge import StateMerge
from lm_merge.spaces.latents.state_stream import ForwardInputs
from lm_merge.spaces.latents.static_alpha import (
    LatentStaticCache,
    NumberOnDevice,
    gates_of,
    held,
    is_of_tensors,
)


class StaticLatents:
    """Runs donors and a copy of the host, over the models' own weights, for one token a row.

    layers: merged block -> alpha; shares: -> the donors' parts of it.
    """

    def __init__(
        self,
        host: HookedLM,
        donors: Sequence[HookedLM],
        streams: DonorStreams,
        merge_states: StateMerge,
        layers: Mapping[int, Alpha],
        shares: Mapping[int, tuple[float, ...]],
    ) -> None:
        self.host, self.donors, self._streams = host, donors, streams
        self._merge_states, self._shares = merge_states, shares
        self._layers = dict(layers)
        self._gates = gates_of(layers)  # what the step reads; numbers it reads off the device
        self.version = 0
        self.recording = False
        self.not_finite: LatentPass | None = None  # of the last text, for the merge's report
        self._numbers: dict[int, NumberOnDevice] = {}
        self._twin: Any = None
        self._twin_key: Hashable = None
        self._last_prompt: Tensor | None = None
        self._column: Tensor | None = None
        self._cache: LatentStaticCache | None = None

    @property
    def device(self) -> torch.device:
        return self.host.device

    @property
    def layers(self) -> dict[int, Alpha]:
        """Merged block -> alpha, as the next step uses it."""
        return self._layers

    @layers.setter
    def layers(self, layers: Mapping[int, Alpha]) -> None:
        before, self._layers = self._structure(), dict(layers)
        self._gates = gates_of(layers)
        self.version += self._structure() != before
        for layer, number in self._numbers.items():
            alpha = self._layers[layer]
            if not callable(alpha):
                number.set(alpha, self._parts(layer))

    @property
    def generation_config(self) -> GenerationConfig | None:
        """The host's generation settings."""
        return None if self.host.native is None else self.host.native.generation_config

    def obstacle(self) -> str | None:
        """Why there can be no recorded step just now."""
        if self.host.native is None:
            return f"{self.host.name!r} is a HookedTransformer"
        if self.recording:
            return "alphas are being recorded"
        gates = [alpha for alpha in self._layers.values() if callable(alpha)]
        for gate in gates:
            if not is_of_tensors(gate):
                return (
                    f"the gate {gate!r} may read more than tensors, which a recording would repeat"
                )
        reads_out = any(isinstance(gate, ConfidenceGate) for gate in gates)
        found = [model_obstacle(self.host.native, self.host.name)]
        for donor in self.donors:
            if donor.native is not None:
                found.append(model_obstacle(donor.native, donor.name, hooks_count=reads_out))
        devices = {self.host.device, *(donor.device for donor in self.donors)}
        return next(filter(None, [*found, devices_obstacle(devices)]), None)

    def key(self) -> Hashable:
        """Weights of all models, and which alphas are numbers; renews the copy of the host."""
        assert self.host.native is not None
        host = weights_key(self.host.native)
        if host != self._twin_key:
            self._twin, self._twin_key = self._new_twin(), host
        others = [weights_key(donor.native) for donor in self.donors if donor.native is not None]
        return host, others, self._streams.weights_key(), self._structure(), self.version

    def new_cache(self, batch: int, n_columns: int) -> LatentStaticCache:
        """Empty caches of host and donors."""
        cache = LatentStaticCache(self._twin.config, self._streams.configs, n_columns)
        size = (batch, n_columns)
        cache.not_finite = {
            layer: torch.zeros(size, dtype=torch.bool, device=self.device) for layer in self._layers
        }
        return cache

    def begin(self, cache: FullLengthCache, n_prompt: int) -> None:
        """Set where the prompt ended, and alpha."""
        assert isinstance(cache, LatentStaticCache)
        if self._last_prompt is None or self._last_prompt.device != self.device:
            self._last_prompt = torch.zeros(1, dtype=torch.long, device=self.device)
            wide = torch.promote_types(self.host.dtype, torch.float32)
            self._numbers = {
                layer: NumberOnDevice(
                    torch.zeros(1 + len(self._parts(layer)), dtype=wide, device=self.device),
                    torch.zeros(1, 1, 1, dtype=torch.bool, device=self.device),
                )
                for layer in self._layers
            }
        self._last_prompt.fill_(n_prompt - 1)
        for flags in cache.not_finite.values():
            flags.zero_()
        self.layers = self._layers

    def logits(
        self, ids: Tensor, mask: Tensor, positions: Tensor, column: Tensor, cache: FullLengthCache
    ) -> Tensor:
        """Logits after one more token a row, merged at every merged block."""
        assert isinstance(cache, LatentStaticCache)
        self._streams.run(ForwardInputs(ids, mask, positions), cache.donor_caches)
        self._column, self._cache = column, cache
        output = self._twin(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        return output.logits[:, -1]

    def end(self, cache: FullLengthCache, n_columns: int) -> None:
        """Keep the first column in which a merged state was not finite, if there is one."""
        assert isinstance(cache, LatentStaticCache)
        flags = torch.stack([one[:, :n_columns] for one in cache.not_finite.values()])
        columns = flags.flatten(0, 1).any(dim=0).nonzero().flatten()
        if len(columns) == 0:
            self.not_finite = None
            return
        first = int(columns[0])
        bad = {layer: one[:, first : first + 1].clone() for layer, one in cache.not_finite.items()}
        self.not_finite = LatentPass(None, None, columns[:1, None], first, not_finite=bad)

    def _merged(self, layer: int, host: Tensor) -> Tensor:
        assert self._column is not None
        assert self._cache is not None
        assert self._last_prompt is not None
        taken, gate = self._streams.take(layer), self._gates.get(layer)
        current = LatentPass(None, None, (self._column - self._last_prompt)[None], 0)
        if gate is not None:
            values = current.open_gate(gate, taken.shares, host, taken.states)
            merged = self._merge_states(values, taken.shares, host, taken.states, taken.base)
            bad = ~merged.isfinite().all(dim=-1)
        else:
            merged, bad = self._by_number(layer, host, taken)
        self._cache.not_finite[layer].index_copy_(1, self._column, bad)
        self._streams.resume(layer, taken, merged, current)
        return merged

    def _by_number(self, layer: int, host: Tensor, taken: DonorStates) -> tuple[Tensor, Tensor]:
        number = self._numbers[layer]
        merged = self._merge_states.by_weights(number.weights, host, taken.states, taken.base)
        bad = ~merged.isfinite().all(dim=-1) & ~number.is_zero[..., 0]
        return torch.where(number.is_zero, host, merged), bad

    def _new_twin(self) -> Any:
        assert self.host.native is not None
        twin: Any = weight_sharing_copy(self.host.native)
        blocks: Any = twin.get_submodule(self.host.native_path("blocks"))
        for layer in self._layers:
            blocks[layer].register_forward_hook(self._hook_at(layer))
        return twin

    def _hook_at(self, layer: int) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            return RESID_POST.with_state(output, self._merged(layer, hidden_of(output)))

        return hook

    def _parts(self, layer: int) -> list[float]:
        return [share for share in self._shares[layer] if share != 0]

    def _structure(self) -> Hashable:
        """For each merged block what a recording holds of its gate; None for a number."""
        return tuple(held(alpha) for alpha in self._layers.values())
