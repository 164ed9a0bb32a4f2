"""One donor's residual stream: its blocks up to the last merged one, on the host's tokens."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from lm_merge.models import HookedLM
from lm_merge.models.forward_pass import hidden_of
from lm_merge.models.weight_sharing import follow_training_mode, weight_sharing_copy
from lm_merge.spaces.latents.state_stream import ForwardInputs


class DonorStream:
    """A donor that runs to its last merged block only, without final norm and unembedding.

    The modules are a copy over the donor's own parameters: hooks on the donor do not act here, and
    nothing is copied. `coupled`: it stops after each merged block and goes on from what `resume`
    gives it.
    """

    def __init__(self, model: HookedLM, layers: Sequence[int], *, coupled: bool) -> None:
        assert model.native is not None
        self.layers = sorted(layers)
        self.states: dict[int, Tensor] = {}
        self._native = model.native
        self.body, self._blocks = truncated_body(model, self.layers[-1])
        self._pauses: dict[int, _Pause] = {}
        self._returns_tuple = _ReturnsTuple()
        self._blocks[0].register_forward_hook(self._returns_tuple)
        if coupled:
            for layer in range(self.layers[0] + 1, self.layers[-1] + 1):
                self._pauses[layer] = _Pause(self._blocks[layer], self._returns_tuple)
                self._blocks[layer] = self._pauses[layer]
        for layer in self.layers:
            if layer not in self._pauses:
                self._blocks[layer].register_forward_hook(self._keeper(layer))

    @property
    def config(self) -> Any:
        """The model's configuration, cut to the blocks that run."""
        return self.body.config

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.body.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.body.parameters()).device

    def new_cache(self, batch: int) -> DynamicCache:
        """An empty cache for the blocks that run."""
        return DynamicCache(config=self.body.config)

    def start(self, inputs: ForwardInputs, cache: DynamicCache | None) -> None:
        """Run on new tokens; `states` then holds resid_post of the merged blocks reached."""
        self.states.clear()
        follow_training_mode(self.body, self._native)
        device = self.device
        self.body(
            input_ids=inputs.input_ids.to(device),
            attention_mask=_moved(inputs.attention_mask, device),
            position_ids=_moved(inputs.position_ids, device),
            past_key_values=cache,
            use_cache=cache is not None,
        )

    def take(self, layer: int) -> Tensor:
        """resid_post of a merged block, handed over once so that it does not stay in memory."""
        return self.states.pop(layer)

    def resume(self, layer: int, merged: Tensor) -> None:
        """Coupled: go on from the merged state of a block to the next merged block."""
        following = [other for other in self.layers if other > layer]
        if not following:
            return
        state = merged.to(self.device, self._dtype)
        for number in range(layer + 1, following[0] + 1):
            state = self._pauses[number].proceed(state)
        self.states[following[0]] = state

    def _keeper(self, layer: int) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            self.states[layer] = hidden_of(output)

        return keep


def truncated_body(model: HookedLM, last: int) -> tuple[Any, nn.ModuleList]:
    """A model's body without head, cut after block `last`, and its list of blocks."""
    native = model.native
    assert native is not None
    prefix = f"{native.base_model_prefix}." if native.base_model is not native else ""
    body: Any = weight_sharing_copy(native.base_model)
    paths = {name: model.native_path(name).removeprefix(prefix) for name in ("blocks", "ln_final")}
    blocks = nn.ModuleList(list(body.get_submodule(paths["blocks"]))[: last + 1])
    body.set_submodule(paths["blocks"], blocks)
    body.set_submodule(paths["ln_final"], nn.Identity())
    config = body.config.get_text_config()
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: last + 1]
    config.num_hidden_layers = last + 1
    return body, blocks


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value


class _ReturnsTuple:
    """Remembers whether a family's blocks return a tuple."""

    value = False

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.value = isinstance(output, tuple)


class _Pause(nn.Module):
    """Stands for a block: notes what the model's forward calls it with, and runs it later."""

    def __init__(self, block: nn.Module, returns_tuple: _ReturnsTuple) -> None:
        super().__init__()
        self.block = block
        self._returns_tuple = returns_tuple
        self._call: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("block"), name)  # attention_type and the like

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        if arguments:
            state, self._call = arguments[0], (arguments[1:], keywords)
        else:
            state = keywords.pop("hidden_states")
            self._call = ((), keywords)
        return (state,) if self._returns_tuple.value else state

    def proceed(self, state: Tensor) -> Tensor:
        arguments, keywords = self._call
        return hidden_of(self.block(state, *arguments, **keywords))
