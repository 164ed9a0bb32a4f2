"""States of encoders after every block."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_merge.models.encoder import Encoder
from lm_merge.models.text_batches import Batch, token_ids


def encoder_blocks(encoder: Encoder) -> nn.ModuleList:
    """The blocks of an encoder. Raises ValueError for a model without a list of so many modules."""
    n_layers = encoder.model.config.num_hidden_layers
    for module in encoder.model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers > 0:
            return module
    raise ValueError(
        f"encoder {encoder.name!r} ({type(encoder.model).__name__}) has no blocks to look into; take "
        "an encoder of transformer blocks"
    )


def padded_batch(encoder: Encoder, texts: Sequence[str]) -> Batch:
    """input_ids and attention_mask of some texts, by the encoder's tokenizer."""
    if encoder.tokenizer is None:
        raise ValueError(f"encoder {encoder.name!r} has no tokenizer files; add them to its folder")
    ids = token_ids(encoder.model, encoder.tokenizer, texts, None, encoder.name)
    return dict(encoder.tokenizer.pad({"input_ids": ids}, return_tensors="pt"))


def block_states(encoder: Encoder, batch: Batch) -> Float[Tensor, "n_layers batch pos d_model"]:
    """The state after each block, in float32 on the model's device."""
    found = list[Tensor]()

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        found.append((output[0] if isinstance(output, tuple) else output).float())

    hooks = [block.register_forward_hook(keep) for block in encoder_blocks(encoder)]
    try:
        with torch.inference_mode():
            encoder.model(**{key: one.to(encoder.model.device) for key, one in batch.items()})
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(found)
