"""Whether the hooked view computes what the native view computes, on a few tokens."""

import warnings
from typing import Any

import torch
from transformers import PreTrainedModel

from lm_merge.models.weight_sharing import weight_sharing_copy

N_TOKENS = 6
ALLOWED_FRAC = {torch.float16: 0.05, torch.bfloat16: 0.05}  # of the largest logit; else 1e-3


class ViewsDiffer(UserWarning):
    """The hooked view gives other logits than the native one."""


def views_difference(hooked: Any, native: PreTrainedModel) -> tuple[float, float]:
    """Largest difference of two views' logits on a few tokens, and how much rounding explains.

    Hooks on the native view do not count, and both compute in evaluation mode.
    """
    plain: Any = weight_sharing_copy(native).eval()
    n_ids = plain.get_input_embeddings().weight.shape[0]
    tokens = (torch.arange(N_TOKENS, device=native.device) * 7919 + 3).unsqueeze(0) % n_ids
    training = native.training
    native.eval()  # the hooked view follows it
    try:
        with torch.no_grad():
            expected = plain(input_ids=tokens, use_cache=False).logits.float()
            got = hooked(tokens).float().to(expected.device)
    finally:
        native.train(training)
    allowed = ALLOWED_FRAC.get(native.dtype, 1e-3) * float(expected.abs().max())
    return float((got - expected).abs().max()), allowed


def checked_view(hooked: Any, native: PreTrainedModel, name: str) -> str | None:
    """Compare the views once; where they differ, warn and give the sentence."""
    if any(parameter.is_meta for parameter in native.parameters()):
        return None  # weights that are elsewhere until they are used
    difference, allowed = views_difference(hooked, native)
    if difference <= allowed:
        return None
    message = (
        f"the hooked view of {name!r} differs from the native one by up to {difference:.3g} in its "
        f"logits, where rounding explains {allowed:.2g}: TransformerLens's bridge of "
        f"{type(native).__name__} is not exact; use the native view"
    )
    warnings.warn(message, ViewsDiffer, stacklevel=4)
    return message
