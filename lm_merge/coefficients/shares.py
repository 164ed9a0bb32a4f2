"""The user's alpha, a number or a gate, as one weight a model: (1 - alpha, alpha x shares)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

Gate = Callable[..., Tensor]
Alpha = float | Gate


def donor_shares(donor_weights: Sequence[float] | None, n_donors: int) -> tuple[float, ...]:
    """Each donor's part of alpha; they sum to 1. Equal parts unless weights are given.

    Raises ValueError for a wrong number of weights, a negative one, or a sum of zero.
    """
    if donor_weights is None:
        return (1 / n_donors,) * n_donors
    if len(donor_weights) != n_donors:
        raise ValueError(
            f"donor_weights={list(donor_weights)} has {len(donor_weights)} entries for {n_donors} "
            "donors; give one for each donor"
        )
    total = sum(donor_weights)
    if min(donor_weights) < 0 or total <= 0:
        raise ValueError(
            f"donor_weights={list(donor_weights)} must be non-negative and not all zero"
        )
    return tuple(weight / total for weight in donor_weights)


def shares_by_layer(
    donor_weights: Sequence[float] | Mapping[int, Sequence[float]] | None,
    layers: Iterable[int],
    n_donors: int,
) -> dict[int, tuple[float, ...]]:
    """Each donor's part of alpha at each merged block; the same everywhere unless given by block.

    Raises ValueError as `donor_shares`, for blocks that are missing or not merged, and for a donor
    without any part.
    """
    layers = list(layers)
    if not isinstance(donor_weights, Mapping):
        shares = dict.fromkeys(layers, donor_shares(donor_weights, n_donors))
    elif set(donor_weights) != set(layers):
        raise ValueError(
            f"donor_weights are given for blocks {sorted(donor_weights)}, merged are {layers}; "
            "give them for each merged block"
        )
    else:
        shares = {layer: donor_shares(donor_weights[layer], n_donors) for layer in layers}
    for i in range(n_donors):
        if not any(parts[i] for parts in shares.values()):
            raise ValueError(f"donor_weights={donor_weights} give donor {i} no part; leave it out")
    return shares


def alpha_from_lambda(lambda_reg: float) -> float:
    """The regularised mean's alpha, 1 / (1 + lambda), for a pull to the host of lambda >= 0."""
    if not lambda_reg >= 0:
        raise ValueError(f"lambda_reg={lambda_reg} must be at least 0: 0 gives the donors' mean")
    return 1 / (1 + lambda_reg)


def constant_weights(alpha: float, shares: Sequence[float], like: Tensor) -> Float[Tensor, "..."]:
    """Weights [n_models, 1, ..., 1] for states of the shape of `like` [*batch, d_model]."""
    values = (1 - alpha, *(alpha * share for share in shares))
    return row_on_device(values, like.dtype, like.device).view(-1, *(1,) * like.ndim)


@lru_cache(maxsize=1024)
def row_on_device(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A vector of numbers on a device; copied there once, since a copy makes the device wait."""
    # a tensor made inside that mode could serve no gradient later
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def gate_weights(
    alpha: Float[Tensor, "*batch 1"], shares: Sequence[float]
) -> Float[Tensor, "n_models *batch 1"]:
    """Weights for an alpha of its own at every token."""
    return torch.stack([1 - alpha, *(alpha * share for share in shares)])
