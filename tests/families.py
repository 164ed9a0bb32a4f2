"""Tiny random models of each supported family, built from their configurations; no files, no network."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

import lm_merge as lm

# three unequal sizes, so that a mistaken axis cannot hide
D_VOCAB, D_MODEL, N_LAYERS = 97, 32, 4
_SIZES = {
    "vocab_size": D_VOCAB,
    "hidden_size": D_MODEL,
    "intermediate_size": 48,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "qwen2": Qwen2Config(**_SIZES),
    "qwen3": Qwen3Config(**_SIZES, head_dim=8),
    "llama": LlamaConfig(**_SIZES),
    "mistral": MistralConfig(**_SIZES, sliding_window=6),
    "gemma2": Gemma2Config(**_SIZES, head_dim=8, sliding_window=6, query_pre_attn_scalar=8),
    "gpt2": GPT2Config(
        vocab_size=D_VOCAB,
        n_embd=D_MODEL,
        n_layer=N_LAYERS,
        n_head=4,
        n_positions=64,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    ),
    "gpt_neox": GPTNeoXConfig(**{k: v for k, v in _SIZES.items() if k != "num_key_value_heads"}),
}

QUICK = ("qwen2", "gemma2", "gpt2")  # in the default suite; the others in the slow tier
FAMILIES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS
]


def random_model(family: str, seed: int, **changes: object) -> PreTrainedModel:
    """A model with random weights, large enough that blocks and streams really differ."""
    config = type(CONFIGS[family])(**{**CONFIGS[family].to_dict(), **changes})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def random_lm(family: str, seed: int, **changes: object) -> lm.HookedLM:
    """The same, in both views."""
    return lm.wrap(random_model(family, seed, **changes))


def random_tokens(batch: int, n_pos: int, seed: int = 0) -> torch.Tensor:
    """Token ids without the special ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, D_VOCAB, (batch, n_pos), generator=generator)
