"""What forbids static decoding: in a model, and in a call of `generate`."""

import inspect
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation.configuration_utils import GenerationMode

STATIC_ATTENTION = ("sdpa", "eager")
MODEL_INPUTS = {"attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"}


class MergeCallback:
    """A hook of a merge of this library, which its static step contains in its own way."""

    def __init__(self, callback: Callable[..., Any]) -> None:
        self.callback = callback

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self.callback(*arguments, **keywords)

    def __deepcopy__(self, memo: Any) -> "MergeCallback":
        return self  # a copy of a hooked module must not copy the merge and its models


def model_obstacle(model: PreTrainedModel, name: str, *, hooks_count: bool = True) -> str | None:
    """Why the step of a model cannot be recorded; None where nothing forbids it.

    hooks_count: False for a donor, of which a merge runs a copy without its hooks.
    """
    attention = getattr(model.config, "_attn_implementation", None)
    takes = inspect.signature(type(model).forward).parameters
    if not getattr(model, "_can_compile_fullgraph", False):
        return f"transformers has no static cache for {type(model).__name__}"
    if "position_ids" not in takes or "attention_mask" not in takes:
        return f"{type(model).__name__} takes no position_ids"
    placed: dict[str, Any] = getattr(model, "hf_device_map", None) or {}
    if len(set(placed.values())) > 1:
        return f"{name} is spread over several devices"
    if getattr(model, "is_quantized", False):
        return f"{name} is quantised"
    if model.training:
        return f"{name} is in training mode"
    if attention not in STATIC_ATTENTION:
        return f"{name} uses attention {attention!r}; static caches take {STATIC_ATTENTION}"
    if _length_dependent_rope(model.config):
        return f"{name} has RoPE of a kind that depends on the length of the text"
    return _hook_obstacle(model, name) if hooks_count else None


def devices_obstacle(devices: Iterable[torch.device]) -> str | None:
    """Why models on these devices cannot share one recording."""
    found = sorted({str(device) for device in devices})
    return f"the models are on several devices, {', '.join(found)}" if len(found) > 1 else None


def weights_key(module: nn.Module) -> Hashable:
    """Modules, and the addresses of parameters and buffers, which a recording repeats."""
    tensors = (*module.parameters(), *module.buffers())
    return (
        tuple((id(part), type(part)) for part in module.modules()),
        tuple((id(one), one.data_ptr(), one.dtype) for one in tensors),
    )


def call_obstacle(
    settings: GenerationConfig, model_inputs: dict[str, Any], synced_gpus: bool
) -> str | None:
    """Why a call of `generate`, with its settings resolved, takes the dynamic path, or None."""
    mode = settings.get_generation_mode()
    unknown = [
        key for key, value in model_inputs.items() if value is not None and key not in MODEL_INPUTS
    ]
    if mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
        return f"{mode.value.replace('_', ' ')} reorders or rejects tokens"
    if synced_gpus or getattr(settings, "is_assistant", False):
        return "several processes or an assistant generate together"
    if settings.return_dict_in_generate:
        return "return_dict_in_generate keeps what every step gave"
    if settings.cache_implementation is not None:
        return f"cache_implementation={settings.cache_implementation!r} was asked for"
    if model_inputs.get("use_cache") is False or settings.use_cache is False:
        return "use_cache=False"
    if settings.prefill_chunk_size is not None:
        return "the prompt is read in parts (prefill_chunk_size)"
    if settings.guidance_scale not in (None, 1, 1.0):
        return "guidance_scale runs the model a second time at every step"
    if unknown:
        return f"the model is given {', '.join(sorted(unknown))}"
    return None


def _length_dependent_rope(config: Any) -> bool:
    scaling: Any = getattr(config.get_text_config(), "rope_parameters", None) or {}
    kinds = [scaling.get("rope_type")]
    kinds += [one.get("rope_type") for one in scaling.values() if isinstance(one, dict)]
    return any("dynamic" in str(kind) for kind in kinds)


def _hook_obstacle(model: nn.Module, name: str) -> str | None:
    """Hooks and replaced forwards run in Python, so a recording would repeat what they did once."""
    for path, module in model.named_modules():
        hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
        if any(not isinstance(hook, MergeCallback) for hook in hooks):
            return f"module {path or 'itself'!r} of {name} has a forward hook"
        if "forward" in vars(module):
            return f"module {path or 'itself'!r} of {name} has a replaced forward"
    return None
