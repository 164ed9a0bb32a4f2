"""Random models of a stated size, and what their parts cost."""

from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

import lm_merge as lm

SHAPES = {
    "qwen2.5-7b": Qwen2Config(
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        max_position_embeddings=32768,
        tie_word_embeddings=False,
    ),
    "tiny": Qwen2Config(
        vocab_size=90,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    ),
}


def native_of(config: Qwen2Config, seed: int, device: torch.device, dtype: torch.dtype) -> Any:
    """A Qwen2 model of a shape with random weights, made on the device in its dtype."""
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            return Qwen2ForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)


def random_native(
    seed: int, *, n_blocks: int, d_model: int, d_vocab: int, n_positions: int = 4096
) -> Any:
    """A Qwen2 model with random weights; MLP 2.75 times as wide as the stream, 64 wide heads."""
    torch.manual_seed(seed)
    n_heads = d_model // 64
    config = Qwen2Config(
        vocab_size=d_vocab,
        hidden_size=d_model,
        intermediate_size=d_model * 11 // 4,
        num_hidden_layers=n_blocks,
        num_attention_heads=n_heads,
        num_key_value_heads=n_heads // 2,
        max_position_embeddings=n_positions,
        tie_word_embeddings=False,
    )
    return Qwen2ForCausalLM(config).eval()


def decode_limit(model: lm.HookedLM, layer: int) -> float:
    """Least cost of a merged token in units of one model's, by parameters touched.

    1 + P(donor blocks 0..layer) / P(host blocks + unembedding).
    """
    block, unembed = _sizes(model)
    return 1 + (layer + 1) * block / (model.n_layers * block + unembed)


def step_bytes(model: lm.HookedLM) -> int:
    """Bytes of parameters that one model reads for a token: its blocks and the unembedding."""
    block, unembed = _sizes(model)
    return (model.n_layers * block + unembed) * model.dtype.itemsize


def prefill_limit(model: lm.HookedLM, layer: int, n_prompt: int) -> float:
    """The same for a prompt, of which one position only is unembedded."""
    block, unembed = _sizes(model)
    return 1 + n_prompt * (layer + 1) * block / (n_prompt * model.n_layers * block + unembed)


def _sizes(model: lm.HookedLM) -> tuple[int, int]:
    block = sum(parameter.numel() for parameter in model.native_blocks()[0].parameters())
    return block, model.native_part("unembed").weight.numel()
