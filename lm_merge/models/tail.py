"""What a model does after a block: its later blocks, final norm and unembedding, from any resid_post.

passed = Tail(host).record(tokens, attention_mask, layers=[20, 27])
end = passed.resume(20, states)         # resid_post of the last block, for other states at block 20
logits = passed.tail.readout(end)
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from lm_merge.models.forward_pass import hidden_of, token_positions
from lm_merge.models.hooked_lm import HookedLM
from lm_merge.models.weight_sharing import (
    cast_parameters,
    follow_training_mode,
    weight_sharing_copy,
)

BlockCall = tuple[
    tuple[Any, ...], dict[str, Any]
]  # what a block is called with in addition to the state


class Tail:
    """A model cut at a block; works on a twin over the model's own weights, so that no hook acts.

    attention: implementation for the twin ("eager" is the one that differentiates twice on the CPU);
    None: the model's own. dtype: for final norm, unembedding and the blocks after `above`, as copies
    (None: the model's own, nothing is copied); such a tail does not record, it takes up what another
    one recorded, with `RecordedPass.on`. Raises ValueError for a model without native view.
    """

    def __init__(
        self,
        model: HookedLM,
        *,
        attention: str | None = None,
        dtype: torch.dtype | None = None,
        above: int = -1,
    ) -> None:
        self._twin: Any = weight_sharing_copy(model.require_native("the tail of a model"))
        self.model, self.n_layers = model, model.n_layers
        if attention is not None:
            self._twin.set_attn_implementation(attention)
        self._body: Any = self._twin.base_model
        self._blocks: Any = self._twin.get_submodule(model.native_path("blocks"))
        self._norm: Any = self._twin.get_submodule(model.native_path("ln_final"))
        self._unembed: Any = self._twin.get_submodule(model.native_path("unembed"))
        self.dtype = model.dtype if dtype is None else dtype
        if self.dtype != model.dtype:
            for part in (*self._blocks[above + 1 :], self._norm, self._unembed):
                cast_parameters(part, self.dtype)
        self._given = _Given()
        self._head: Any = weight_sharing_copy(self._twin)
        self._head.set_submodule(self._twin.base_model_prefix, self._given)
        self._calls: dict[int, BlockCall] = {}
        self._outputs: dict[int, Tensor] = {}
        self._wanted: frozenset[int] = frozenset()
        for layer, block in enumerate(self._blocks):
            block.register_forward_pre_hook(self._caller(layer), with_kwargs=True)
            block.register_forward_hook(self._keeper(layer))

    def record(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        *,
        layers: Collection[int],
    ) -> "RecordedPass":
        """One forward pass without gradients: resid_post at `layers` and at the last block.

        attention_mask: 0 for padding, on either side; positions are counted over real tokens.
        """
        if self.dtype != self.model.dtype:
            raise ValueError(
                f"dtype={self.dtype} differs from the model's {self.model.dtype}: record with a tail in "
                "the model's dtype, then use RecordedPass.on"
            )
        outside = [layer for layer in layers if not 0 <= layer < self.n_layers]
        if outside:
            raise ValueError(
                f"layers={outside} are outside 0..{self.n_layers - 1} of model {self.model.name!r}"
            )
        follow_training_mode(self._twin, self.model.native)  # pyright: ignore[reportArgumentType]
        device, position_ids = self.model.device, None
        if attention_mask is not None:
            attention_mask = attention_mask.to(device)
            position_ids = token_positions(attention_mask)
        self._wanted = frozenset({*layers, self.n_layers - 1})
        self._calls, self._outputs = {}, {}
        with torch.no_grad():
            self._body(
                input_ids=tokens.to(device),
                attention_mask=attention_mask,
                position_ids=position_ids,
                use_cache=False,
            )
        passed = RecordedPass(self, self._outputs, self._calls)
        self._calls, self._outputs, self._wanted = {}, {}, frozenset()
        return passed

    @property
    def unembedding(self) -> Float[Tensor, "d_model d_vocab"]:
        """The matrix of the unembedding."""
        return self._unembed.weight.T

    def norm(self, end: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The final norm alone."""
        return self._norm(end.to(self.dtype))

    def readout(self, end: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """Logits from resid_post of the last block, soft cap and scaling included."""
        return self.unembed(self.norm(end))

    def unembed(self, normed: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """Logits from what the final norm gave, soft cap and scaling included."""
        self._given.state = normed.to(self.dtype).reshape(1, -1, normed.shape[-1])
        logits = self._head(input_ids=None, use_cache=False).logits
        self._given.state = None
        return logits.reshape(*normed.shape[:-1], -1)

    def run_blocks(self, state: Tensor, calls: Mapping[int, BlockCall], after: int) -> Tensor:
        """The blocks after `after` on a state [batch, pos, d_model], each called as recorded."""
        for layer in range(after + 1, self.n_layers):
            arguments, keywords = calls[layer]
            state = hidden_of(self._blocks[layer](state, *arguments, **keywords))
        return state

    def _caller(self, layer: int) -> Any:
        def note(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            if self._wanted and layer > min(self._wanted):
                others = {key: value for key, value in keywords.items() if key != "hidden_states"}
                self._calls[layer] = arguments[1:], others

        return note

    def _keeper(self, layer: int) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if layer in self._wanted:
                self._outputs[layer] = hidden_of(output)

        return keep


@dataclass(frozen=True)
class RecordedPass:
    """A forward pass that can be taken up again at any recorded block.

    states: layer -> resid_post [batch, pos, d_model], of the layers asked for and of the last one.
    """

    tail: Tail
    states: Mapping[int, Tensor]
    calls: Mapping[int, BlockCall]

    def on(self, tail: Tail) -> "RecordedPass":
        """The same pass, to be taken up by another tail of the same model, in that tail's dtype."""
        states = {layer: state.to(tail.dtype) for layer, state in self.states.items()}
        return RecordedPass(tail, states, self.calls)

    def resume(
        self, layer: int, states: Float[Tensor, "variants batch pos d_model"]
    ) -> Float[Tensor, "variants batch pos d_model"]:
        """resid_post of the last block if block `layer` had given these states; all variants at once.

        Differentiable in the states. Values in padding have no influence elsewhere.
        """
        if layer not in self.states:
            raise ValueError(f"layer={layer} was not recorded; recorded are {sorted(self.states)}")
        n_variants, batch = states.shape[:2]
        calls = {
            later: _repeated(self.calls[later], batch, n_variants)
            for later in range(layer + 1, self.tail.n_layers)
        }
        given = states.flatten(0, 1).to(self.tail.dtype)
        end = self.tail.run_blocks(given, calls, layer)
        return end.unflatten(0, (n_variants, batch))


class _Given(nn.Module):
    """Stands for the body of a model and gives the hidden state that it was handed."""

    state: Tensor | None = None

    def forward(
        self, *arguments: Any, **keywords: Any
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=self.state)  # pyright: ignore[reportArgumentType]


def _repeated(value: Any, batch: int, times: int) -> Any:
    """What a block is called with, for `times` copies of the batch; what broadcasts stays as it is."""
    if isinstance(value, Tensor):
        has_batch = value.ndim > 1 and value.shape[0] == batch and batch > 1
        return value.repeat(times, *(1,) * (value.ndim - 1)) if has_batch else value
    if isinstance(value, tuple):
        return tuple(_repeated(item, batch, times) for item in value)
    if isinstance(value, dict):
        return {key: _repeated(item, batch, times) for key, item in value.items()}
    return value
