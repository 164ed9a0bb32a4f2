"""Which models, merges and operations blocks can be computed for, and why not the others."""

from collections.abc import Sequence
from typing import Any

from lm_merge.coefficients import wants_generated
from lm_merge.contexts.blocks import Block, Run
from lm_merge.models import HookedLM
from lm_merge.spaces import Composed, LatentMerge

LENGTH_DEPENDENT = ("dynamic", "longrope")
ROTATED_BY_HALVES = ("gemma2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3")


def models_of(system: Composed) -> list[HookedLM]:
    """The models that run: the host and its donors."""
    donors = [one for one in getattr(system, "donors", ()) if isinstance(one, HookedLM)]
    return [system.host, *donors]


def layer_windows(config: Any) -> dict[str, int | None]:
    """Kind of attention -> its sliding window in tokens, None for full attention."""
    config = config.get_text_config(decoder=True)
    window = getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", True) is False:
        window = None
    kinds = set(getattr(config, "layer_types", None) or ())
    if not kinds:
        return {"sliding_attention" if window else "full_attention": window}
    known = {"full_attention": None, "sliding_attention": window}
    unknown = sorted(kinds - set(known))
    if unknown:
        raise ValueError(f"layers of kind {unknown} have no place in blocks of tokens")
    return {kind: known[kind] for kind in sorted(kinds)}


def has_rotary(model: HookedLM) -> bool:
    """Whether positions are rotations of keys; else they are learned embeddings, as in GPT-2."""
    native: Any = model.require_native("blocks")
    return hasattr(native.base_model, "rotary_emb")


def check_cached(system: Composed) -> None:
    """Raise ValueError for a system whose blocks cannot be kept in a cache, with the reason."""
    _check_system(system)
    windows = [
        layer_windows(one.require_native("blocks").config).values() for one in models_of(system)
    ]
    if len(windows) > 1 and any(any(one) for one in windows):
        raise ValueError(
            f"{system.name}: the donors' caches forget what lies beyond their sliding window; take "
            "packed scoring, or models with full attention"
        )


def check_packed(system: Composed, items: Sequence[Sequence[Run]]) -> None:
    """Raise ValueError with the reason for a system that a packed forward pass would compute wrongly."""
    _check_system(system)
    windows = [layer_windows(one.require_native("blocks").config) for one in models_of(system)]
    if any(one != windows[0] for one in windows):
        raise ValueError(
            f"{system.name}: its models differ in their sliding windows, which one mask cannot hold"
        )
    if not any(one for one in items):
        raise ValueError("items is empty: give at least one run")


def _check_system(system: Composed) -> None:
    for model in models_of(system):
        check_positions(model)
    if isinstance(system, LatentMerge):
        gates = [alpha for alpha in system.layers.values() if callable(alpha)]
        if system.positions == "last" or any(map(wants_generated, gates)):
            raise ValueError(
                f"{system.name}: positions='last' and gates that read `generated` need one end of the "
                "prompt, which a text of blocks does not have; merge at all positions"
            )


def check_positions(model: HookedLM) -> None:
    """Raise ValueError where a key's place depends on the length of the text."""
    config: Any = model.require_native("blocks").config.get_text_config(decoder=True)
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = (
        rope.values() if all(isinstance(one, dict) for one in rope.values()) and rope else [rope]
    )
    for one in kinds:
        if one.get("rope_type") in LENGTH_DEPENDENT:
            raise ValueError(
                f"model {model.name!r} has rope_type={one['rope_type']!r}: its rotations depend on the "
                "length of the text, so that a block has no states of its own; choose another model"
            )


def check_movable(model: HookedLM, block: Block, by: int) -> None:
    """Raise ValueError where cached keys of a block cannot be moved by a number of positions."""
    check_positions(model)
    native: Any = model.require_native("blocks")
    if by and has_rotary(model) and native.config.model_type not in ROTATED_BY_HALVES:
        raise ValueError(
            f"model {model.name!r} is of family {native.config.model_type!r}, whose rotations are not "
            f"known here; cached keys can be moved for {', '.join(ROTATED_BY_HALVES)}"
        )
    if by and not has_rotary(model):
        raise ValueError(
            f"model {model.name!r} has learned positions: the cached keys of block {block.name!r} "
            f"cannot be moved by {by} positions; take contexts of equal length, or the packed form"
        )
