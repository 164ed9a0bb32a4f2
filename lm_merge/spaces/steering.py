"""Steering a model by fixed vectors in its residual stream; leaves no trace."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from lm_merge.models import HookedLM
from lm_merge.operators import Steering


@contextmanager
def steered(model: HookedLM, steering: Steering) -> Iterator[HookedLM]:
    """Inside, `model` is steered in both views for every caller.

    Raises ValueError for a layer outside the model or a vector of another width.

    >>> import torch
    >>> import lm_merge as lm
    >>> model = lm.load("tiny-instruct")
    >>> tokens = model.to_tokens("12+34 = ?").input_ids
    >>> plain = model.native(tokens).logits
    >>> with lm.steered(model, lm.Steering({3: torch.ones(model.d_model)}, alpha=0.1)):
    ...     inside = model.native(tokens).logits
    >>> inside.equal(plain), model.native(tokens).logits.equal(plain)
    (False, True)
    """
    for layer, vector in steering.vectors.items():
        if not 0 <= layer < model.n_layers:
            raise ValueError(
                f"layer={layer} is outside 0..{model.n_layers - 1} for host {model.name!r}"
            )
        if tuple(vector.shape) != (model.d_model,):
            raise ValueError(
                f"the vector for layer {layer} has shape {tuple(vector.shape)}; "
                f"{model.name!r} takes ({model.d_model},)"
            )
    with ExitStack() as stack:
        for layer in steering.vectors:
            point = model.hooked.blocks[layer].hook_resid_post
            for module in (point, *([model.native_blocks()[layer]] if model.native else [])):
                handle = module.register_forward_hook(_adding(steering, layer), prepend=True)
                stack.callback(handle.remove)
        yield model


def _adding(steering: Steering, layer: int) -> Any:
    def hook(module: Any, inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return steering.add(output[0], layer), *output[1:]
        return steering.add(output, layer)

    return hook
