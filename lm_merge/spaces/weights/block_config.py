"""The configuration of a model whose blocks were put together anew: one entry a block, or a refusal."""

from collections.abc import Sequence
from typing import Any

from lm_merge.models.model_class import resolved_config

N_BLOCKS_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
KINDS = ("layer_types", "mlp_layer_types", "layers_block_type", "no_rope_layers")
NUMBERS = ("mlp_only_layers", "moe_layers", "cross_attention_layers", "full_attn_idxs")
RULES = {  # entry that gives blocks their kind by a rule -> values by which it does not
    "attn_layer_offset": (None,),
    "attn_layer_period": (None,),
    "decoder_sparse_step": (None, 1),
    "expert_layer_offset": (None,),
    "expert_layer_period": (None, 1),
    "interleave_moe_layer_step": (None, 0, 1),
    "moe_layer_freq": (None, 1),
    "num_kv_shared_layers": (None, 0),
    "scale_attn_by_inverse_layer_idx": (None, False),
}


def n_text_blocks(config: dict[str, Any]) -> int | None:
    """Number of blocks of the language model, as the configuration gives it."""
    text = _text(config)
    found = next((text[key] for key in N_BLOCKS_KEYS if key in text), None)
    return found if isinstance(found, int) else None


def set_blocks(config: dict[str, Any], origins: Sequence[int]) -> None:
    """Change a configuration to blocks that come from those numbers of it.

    What a rule says of blocks is written out, one entry a block, as the class of the configuration
    resolves it. Raises ValueError that names the entry where that cannot be done.
    """
    text, resolved = _text(config), resolved_config(config).get_text_config()
    before = n_text_blocks(config) or resolved.num_hidden_layers
    for key, values in list(text.items()):
        if isinstance(values, list) and "layer" in key and len(values) == before:
            text[key] = values if key in NUMBERS else [values[block] for block in origins]
    for key in KINDS:
        values = getattr(resolved, key, None)
        if isinstance(values, list) and len(values) == before:
            text[key] = [values[block] for block in origins]
    for key in NUMBERS:
        values = getattr(resolved, key, None)
        if isinstance(values, list) and values:
            text[key] = [place for place, block in enumerate(origins) if block in values]
    for key, harmless in RULES.items():
        if getattr(resolved, key, None) not in harmless:
            raise ValueError(
                f"config.json: {key}={getattr(resolved, key)!r} gives blocks their kind by number, "
                "which slices change; it cannot be written for each block, so keep the blocks in place"
            )
    _set_dense_start(text, resolved, origins)
    for part in (config, text):
        for key in N_BLOCKS_KEYS:
            if key in part:
                part[key] = len(origins)
    after = resolved_config(config).get_text_config()
    for key in KINDS:
        values = getattr(resolved, key, None)
        if isinstance(values, list) and len(values) == before:
            wanted = [values[block] for block in origins]
            if getattr(after, key, None) != wanted:
                raise ValueError(f"config.json: {key}={wanted} of the new blocks cannot be written")


def _set_dense_start(text: dict[str, Any], resolved: Any, origins: Sequence[int]) -> None:
    """first_k_dense_replace: the first blocks have no experts."""
    first = getattr(resolved, "first_k_dense_replace", None)
    if not isinstance(first, int):
        return
    dense = [block < first for block in origins]
    if dense != sorted(dense, reverse=True):
        raise ValueError(
            f"config.json: first_k_dense_replace={first} cannot say that blocks {list(origins)} follow "
            "each other; put those without experts first"
        )
    text["first_k_dense_replace"] = sum(dense)


def _text(config: dict[str, Any]) -> dict[str, Any]:
    text = config.get("text_config")
    return text if isinstance(text, dict) else config
