"""Adapters that PEFT writes, of every kind that can be merged, on tiny models of two families."""

import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

ATTENTION_AND_MLP = ["q_proj", "v_proj", "down_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "lora_alpha": 8},
    "rslora": {"r": 8, "lora_alpha": 8, "use_rslora": True},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "rank_pattern": {"down_proj": 2, "layers.1.self_attn.q_proj": 6},
        "alpha_pattern": {"v_proj": 3},
    },
    "rslora patterns": {"r": 4, "lora_alpha": 4, "use_rslora": True, "rank_pattern": {"v_proj": 2}},
    "embeddings": {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "embed_tokens"]},
    "unembedding": {"r": 3, "lora_alpha": 6, "target_modules": ["v_proj", "lm_head"]},
}


def tiny_llama(**settings: Any) -> PreTrainedModel:
    """Two blocks of width 16 with weights of size one, so that an update can be seen."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.2,
        **settings,
    )
    return LlamaForCausalLM(config).eval()


def tiny_gpt2() -> PreTrainedModel:
    """GPT-2 keeps its weights transposed, which PEFT calls fan_in_fan_out."""
    torch.manual_seed(2)
    config = GPT2Config(
        vocab_size=32, n_positions=32, n_embd=16, n_layer=2, n_head=2, initializer_range=0.2
    )
    return GPT2LMHeadModel(config).eval()


def save_adapter(base: PreTrainedModel, folder: Path, seed: int, **settings: Any) -> Any:
    """A PEFT model with random factors, saved; the base given is not changed."""
    import copy

    from peft import LoraConfig, get_peft_model

    config = LoraConfig(**{"target_modules": ATTENTION_AND_MLP, **settings})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(copy.deepcopy(base), config)
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
        model.save_pretrained(folder)
    return model.eval()
