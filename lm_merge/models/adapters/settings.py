"""What an adapter's configuration says about its updates, and which kinds of adapters are refused."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIG_FILE = "adapter_config.json"
# Initialisations of the factors that leave the base model's weights as they are. The others move a part
# of the base into the factors, so that their product is no update of the published base.
PLAIN_INITIALISATIONS = (True, False, None, "gaussian", "eva", "orthogonal")
# Fields that change nothing about what a saved LoRA computes, or that are read below.
KNOWN = frozenset(
    "alpha_pattern auto_mapping base_model_name_or_path bias corda_config ensure_weight_tying "
    "eva_config exclude_modules fan_in_fan_out inference_mode init_lora_weights layers_pattern "
    "layers_to_transform loftq_config lora_alpha lora_bias lora_dropout lora_ga_config "
    "megatron_config megatron_core modules_to_save peft_type peft_version qalora_group_size r "
    "rank_pattern revision runtime_config target_modules task_type use_dora use_rslora".split()
)
REFUSED = {
    "use_dora": "DoRA rescales the merged weight by a learned magnitude, so its update does not add",
    "lora_bias": "a bias in lora_B is no part of the low-rank update",
}


@dataclass(frozen=True)
class AdapterSettings:
    """The fields of `adapter_config.json` that decide what the update is.

    rank_pattern, alpha_pattern: module name pattern -> value, in place of r and lora_alpha; a pattern
    fits a whole module path or its last parts, as in PEFT.
    """

    r: int
    lora_alpha: float
    use_rslora: bool = False
    fan_in_fan_out: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    modules_to_save: tuple[str, ...] = ()
    base: str | None = None
    revision: str | None = None

    def rank_of(self, module: str) -> int:
        """The rank that the configuration gives a module."""
        return self.rank_pattern.get(_pattern_for(self.rank_pattern, module), self.r)

    def scale_of(self, module: str) -> float:
        """lora_alpha / r, or lora_alpha / sqrt(r) with rsLoRA (Kalajdzievski 2023)."""
        alpha = self.alpha_pattern.get(_pattern_for(self.alpha_pattern, module), self.lora_alpha)
        rank = self.rank_of(module)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


def read_settings(content: Mapping[str, Any], folder: Path) -> AdapterSettings:
    """Check a configuration and keep what decides the update.

    Raises ValueError that names the field for adapters that are no plain LoRA: their update is not a
    sum of low-rank matrices on the published base.
    """
    where = f"adapter {folder}"
    kind = content.get("peft_type")
    if kind != "LORA":
        raise ValueError(f"{where} has peft_type {kind!r}; only 'LORA' adapters can be merged")
    for key, reason in REFUSED.items():
        if content.get(key):
            raise ValueError(f"{where}: {key}={content[key]!r} cannot be merged: {reason}")
    if content.get("bias", "none") != "none":
        raise ValueError(
            f"{where}: bias={content['bias']!r} trains biases of the base, which are no part of a "
            "low-rank update; train with bias='none', or merge it into the base with PEFT's "
            "merge_and_unload and merge in space 'weights'"
        )
    _check_initialisation(content, where)
    unknown = sorted(key for key, value in content.items() if value and key not in KNOWN)
    if unknown:
        raise ValueError(
            f"{where} uses {', '.join(f'{key}={content[key]!r}' for key in unknown)}, which is not "
            "supported; merge it into the base with PEFT's merge_and_unload and merge in space "
            "'weights'"
        )
    return AdapterSettings(
        r=_whole(content, "r", where),
        lora_alpha=_number(content, "lora_alpha", where),
        use_rslora=bool(content.get("use_rslora")),
        fan_in_fan_out=bool(content.get("fan_in_fan_out")),
        rank_pattern={
            key: int(value) for key, value in _numbers(content, "rank_pattern", where).items()
        },
        alpha_pattern=_numbers(content, "alpha_pattern", where),
        modules_to_save=tuple(content.get("modules_to_save") or ()),
        base=content.get("base_model_name_or_path"),
        revision=content.get("revision"),
    )


def _check_initialisation(content: Mapping[str, Any], where: str) -> None:
    start = content.get("init_lora_weights")
    if start not in PLAIN_INITIALISATIONS:
        raise ValueError(
            f"{where}: init_lora_weights={start!r} changed the base's weights in training, so its "
            "update belongs to another base; save it with PEFT's "
            "path_initial_model_for_weight_conversion, which makes it a plain LoRA"
        )


def _pattern_for(patterns: Mapping[str, object], module: str) -> str:
    """The first pattern that fits a module's path or its last parts; "" if none."""
    fits = (one for one in patterns if re.match(rf"(.*\.)?({one})$", module))
    return next(fits, "")


def _whole(content: Mapping[str, Any], key: str, where: str) -> int:
    value = content.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{where}: {key}={value!r} must be a whole number of at least 1")
    return value


def _number(content: Mapping[str, Any], key: str, where: str) -> float:
    value = content.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{where}: {key}={value!r} must be a finite number")
    return float(value)


def _numbers(content: Mapping[str, Any], key: str, where: str) -> dict[str, float]:
    patterns = content.get(key) or {}
    if not isinstance(patterns, Mapping):
        raise ValueError(f"{where}: {key}={patterns!r} must map module names to numbers")
    return {name: _number(patterns, name, f"{where}: {key}") for name in patterns}
