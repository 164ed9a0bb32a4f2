"""LoRA adapters of a base model: reading PEFT's folders, and running a base with an adapter."""

from lm_merge.models.adapters.adapter import Adapter, read_adapter

__all__ = ["Adapter", "read_adapter"]
