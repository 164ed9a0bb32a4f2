"""In what two configurations differ though the tensors have the same shapes; for every space."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from lm_merge.recipes import Tolerance

TOLERANCES: tuple[str, ...] = get_args(Tolerance)
ROPE = ("rope_parameters", "rope_theta", "rope_scaling", "partial_rotary_factor")
MEANINGS: dict[Tolerance, tuple[str, tuple[str, ...]]] = {  # accepted as -> words, entries
    "norm_eps": (
        "norm eps",
        ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon"),
    ),
    "heads": ("attention heads", ("num_attention_heads", "num_key_value_heads", "head_dim")),
    "activation": (
        "activation",
        ("hidden_act", "hidden_activation", "activation_function", "activation"),
    ),
    "soft_caps": ("soft cap", ("attn_logit_softcapping", "final_logit_softcapping")),
    "scales": (
        "scale",
        (
            "query_pre_attn_scalar",
            "attention_multiplier",
            "embedding_multiplier",
            "residual_multiplier",
            "logits_scaling",
            "logit_scale",
            "scale_attn_weights",
            "scale_attn_by_inverse_layer_idx",
            "use_parallel_residual",
        ),
    ),
    "experts": (
        "experts",
        ("num_experts_per_tok", "norm_topk_prob", "routed_scaling_factor", "n_group", "topk_group"),
    ),
}


class IncompatibleModels(ValueError):
    """Two models that do not fit together in the space in which they are to be merged."""


@dataclass(frozen=True)
class Difference:
    """Something in which donor and host differ; `tolerance` is the name under which it is accepted."""

    what: str
    host_value: Any
    donor_value: Any
    tolerance: str | None = None

    def __str__(self) -> str:
        return f"{self.what}: host {self.host_value!r}, donor {self.donor_value!r}"


def config_differences(host: Any, donor: Any) -> Iterator[Difference]:
    """What changes the meaning of tensors but not their shapes, from transformers' configurations.

    Positions (RoPE), sliding windows, norm epsilon, heads, activation, soft caps, scales, experts; of
    a model with several towers, those of its language model.
    """
    ours, theirs = host.get_text_config(), donor.get_text_config()
    rope = _rope(ours), _rope(theirs)
    if rope[0] != rope[1]:
        yield Difference("RoPE settings", *rope, tolerance="rope")
    seen = windows(ours), windows(theirs)
    if seen[0] != seen[1]:
        yield Difference("sliding window", *seen, tolerance="sliding_window")
    for tolerance, (words, names) in MEANINGS.items():
        for name in names:
            values = getattr(ours, name, None), getattr(theirs, name, None)
            if values[0] != values[1]:
                what = words if tolerance == "norm_eps" else f"{words} ({name})"
                yield Difference(what, *values, tolerance=tolerance)


def accepted_differences(
    host: str, donor: str, accept: Collection[str], found: Iterable[Difference]
) -> list[str]:
    """Notes on differences that are accepted; IncompatibleModels with both values of every other one.

    host, donor: names, for the error. accept: names of TOLERANCES; ValueError for an unknown one.
    """
    unknown = sorted(set(accept) - set(TOLERANCES))
    if unknown:
        raise ValueError(f"accept={unknown} is unknown; choose from {', '.join(TOLERANCES)}")
    differences = list(found)
    fatal = [one for one in differences if one.tolerance not in accept]
    if fatal:
        lines = [f"donor {donor!r} does not fit host {host!r}:"]
        for one in fatal:
            remedy = f" (accept=[{one.tolerance!r}] allows it)" if one.tolerance else ""
            lines.append(f"  {one}{remedy}")
        raise IncompatibleModels("\n".join(lines))
    return [f"accepted: {one}" for one in differences]


def windows(config: Any) -> Any:
    """Which blocks see how far back; None for every block seeing all."""
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if window is None or (kinds is not None and "sliding_attention" not in kinds):
        return None
    return window, kinds if kinds is None or len(set(kinds)) > 1 else kinds[0]


def _rope(config: Any) -> dict[str, Any]:
    """RoPE settings by name; the frequencies' base, the scaling's kind and its numbers."""
    return {name: getattr(config, name) for name in ROPE if getattr(config, name, None) is not None}
