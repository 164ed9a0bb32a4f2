"""The states of every block at one site, from one forward pass of the native view."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_merge.models import HookedLM
from lm_merge.models.forward_pass import token_positions
from lm_merge.sites.resid_post import RESID_POST
from lm_merge.sites.site import Site


def record_resid_post(
    model: HookedLM,
    tokens: Int[Tensor, "batch pos"],
    attention_mask: Int[Tensor, "batch pos"],
) -> Float[Tensor, "n_layers batch pos d_model"]:
    """resid_post of all blocks; inside a merge's hooks, the merged one. No gradients.

    Left padding is allowed: positions are counted over real tokens. The head is not computed for
    more than one position. Raises ValueError for a HookedTransformer.
    """
    return record_states(model, tokens, attention_mask, RESID_POST)


def record_states(
    model: HookedLM,
    tokens: Int[Tensor, "batch pos"],
    attention_mask: Int[Tensor, "batch pos"],
    site: Site,
) -> Float[Tensor, "n_layers batch pos d_model"]:
    """The same at any site."""
    native: Any = model.require_native("a recording")
    states: dict[int, Tensor] = {}

    def keeper(layer: int) -> Any:
        def keep(module: Any, inputs: Any, output: Any) -> None:
            states[layer] = site.state(output)

        return keep

    handles = [
        site.native_module(model, block).register_forward_hook(keeper(layer))
        for layer, block in enumerate(model.native_blocks())
    ]
    try:
        with torch.no_grad():
            native(
                input_ids=tokens.to(model.device),
                attention_mask=attention_mask.to(model.device),
                position_ids=token_positions(attention_mask).to(model.device),
                use_cache=False,
                logits_to_keep=1,
            )
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([states[layer].to(model.device) for layer in range(model.n_layers)])
