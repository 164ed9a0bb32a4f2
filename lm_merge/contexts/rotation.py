"""Cached keys at other positions: rotary embeddings add up, R(a + d) = R(d) R(a)."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def moved_keys(
    keys: Float[Tensor, "batch heads pos d_head"],
    inv_freq: Float[Tensor, " half"],
    by: int,
) -> Float[Tensor, "batch heads pos d_head"]:
    """Keys as they would be `by` positions further on: k cos(by f) + rotate_half(k) sin(by f).

    Computed in float32, returned in the dtype of the keys. Only the first 2 * half entries of a head are
    rotated, where a model rotates a part of it. inv_freq: the model's own, in radians a position; a
    scaling of attention (yarn) is in the keys already. Exact for rotations that do not depend on the
    length of the text: default, linear, yarn, llama3.
    """
    if by == 0:
        return keys
    n_rotary = 2 * len(inv_freq)
    angles = by * inv_freq.float().repeat(2)
    turned, rest = keys[..., :n_rotary].float(), keys[..., n_rotary:]
    first, second = turned.chunk(2, dim=-1)
    half = torch.cat([-second, first], dim=-1)
    return torch.cat([(turned * angles.cos() + half * angles.sin()).to(keys.dtype), rest], dim=-1)


def inverse_frequencies(native: Any) -> Float[Tensor, " half"]:
    """The rotation of each pair of entries of a key, in radians a position, as the model has it now."""
    return native.base_model.rotary_emb.inv_freq
