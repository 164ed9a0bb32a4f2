"""The gain and the matrix of a read-out that is a norm and a linear map, checked on the model itself."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.models.tail import Tail

TOLERANCE = 1e-3  # relative, of what the two forms may differ by; bfloat16 heads are upcast before


@dataclass(frozen=True)
class LinearReadout:
    """logits = scale * unembedding^T (gain * sqrt(d_model) x / |x|) and constants.

    centred: x is taken less its mean (LayerNorm). unembedding: the model's own, not a copy.
    """

    gain: Float[Tensor, " d_model"]
    unembedding: Float[Tensor, "d_model d_vocab"]
    scale: float
    centred: bool


@torch.no_grad()
def linear_readout(tail: Tail) -> LinearReadout:
    """What a tail's read-out amounts to. Raises ValueError with the reason where it is not of this form.

    Two random states are compared with what the form gives for them.
    """
    native: Any = tail.model.native
    cap = getattr(native.config.get_text_config(), "final_logit_softcapping", None)
    if cap is not None:
        raise ValueError(
            f"model {tail.model.name!r} caps its logits softly (final_logit_softcapping={cap}), which "
            "bends them beyond the norm: there is no closed form, only the exact curvature"
        )
    weight = tail.unembedding
    d_model = weight.shape[0]
    signs = torch.ones(d_model, dtype=weight.dtype, device=weight.device)
    signs[::2] = -1
    # both norms map a vector of as many +1 as -1 to itself, but for gain and bias
    gain = (tail.norm(signs) - tail.norm(-signs)) / (2 * signs)
    generator = torch.Generator().manual_seed(0)
    probes = torch.randn(2, d_model, generator=generator).to(weight)
    normed = tail.norm(probes) - tail.norm(-probes)
    for centred in (False, True):
        moved = probes - probes.mean(dim=-1, keepdim=True) if centred else probes
        expected = 2 * gain * sqrt(d_model) * moved / moved.norm(dim=-1, keepdim=True)
        if _equal(normed, expected):
            break
    else:
        raise ValueError(
            f"the final norm of model {tail.model.name!r} is neither RMSNorm nor LayerNorm: there is "
            "no closed form, only the exact curvature"
        )
    got = tail.readout(probes) - tail.readout(-probes)
    linear = normed @ weight
    scale = float((got * linear).sum() / linear.square().sum())
    scale = 1.0 if abs(scale - 1) < TOLERANCE else scale
    if not _equal(got, scale * linear):
        raise ValueError(
            f"the logits of model {tail.model.name!r} are no linear function of the normed stream: "
            "there is no closed form, only the exact curvature"
        )
    return LinearReadout(gain, weight, scale, centred)


def _equal(x: Tensor, y: Tensor) -> bool:
    return bool((x - y).norm() <= TOLERANCE * y.norm())
