"""A site is one class: states are read and replaced there, in both views."""

from typing import Any

import pytest
import torch
from families import D_MODEL, FAMILIES, N_LAYERS, random_lm, random_tokens
from torch import Tensor, nn
from torch.testing import assert_close

from lm_merge.models import HookedLM
from lm_merge.sites import RESID_POST
from lm_merge.sites.attach import attach_hooked, attach_native
from lm_merge.sites.recording import record_states


class MlpOut:
    """What a block's MLP adds to the stream."""

    def native_module(self, model: HookedLM, block: nn.Module) -> nn.Module:
        return block.get_submodule("mlp")

    def hooked_module(self, block: Any) -> nn.Module:
        return block.hook_mlp_out

    def state(self, output: Any) -> Tensor:
        return output

    def with_state(self, output: Any, state: Tensor) -> Any:
        return state


class Doubling:
    """Callbacks that double the states of a site."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def begin(self, module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        self.seen.clear()
        return arguments, keywords

    def begin_hooked_transformer(self, tokens: Tensor, attention_mask: Any, cache: Any) -> None:
        self.seen.clear()

    def at_layer(self, layer: int, state: Tensor) -> Tensor:
        self.seen.append(layer)
        return 2 * state

    def end(self) -> None:
        assert self.seen


SITES = {"resid_post": RESID_POST, "mlp_out": MlpOut()}


@pytest.mark.parametrize("name", SITES)
def test_a_site_is_recorded_in_one_view_as_in_the_other(name):
    model, tokens = random_lm("qwen2", 0), random_tokens(2, 7)
    states = record_states(model, tokens, torch.ones_like(tokens), SITES[name])
    assert states.shape == (N_LAYERS, 2, 7, D_MODEL)
    _, cache = model.hooked.run_with_cache(tokens)
    for layer in range(N_LAYERS):
        assert_close(states[layer], cache[name, layer])


@pytest.mark.parametrize("name", SITES)
def test_what_replaces_a_state_is_the_same_in_both_views(name):
    model, tokens, site = random_lm("llama", 0), random_tokens(2, 7), SITES[name]
    doubling = Doubling()
    plain = model(tokens)
    with attach_native(model, [1, 2], doubling, site):
        native = model(tokens)
    assert doubling.seen == [1, 2]
    with attach_hooked(model, [1, 2], doubling, site):
        assert_close(model.hooked(tokens), native)
    assert not torch.allclose(native, plain)
    assert torch.equal(model(tokens), plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_state_is_put_back_into_what_a_familys_block_gives(family):
    model, tokens = random_lm(family, 0), random_tokens(1, 5)
    doubling, seen = Doubling(), []
    with attach_native(model, [1], doubling):
        handle = model.native_blocks()[1].register_forward_hook(
            lambda module, inputs, output: seen.append(RESID_POST.state(output))
        )
        model(tokens)
        handle.remove()
    plain = record_states(model, tokens, torch.ones_like(tokens), RESID_POST)
    assert_close(seen[0], 2 * plain[1])
