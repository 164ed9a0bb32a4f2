"""Where a merge lies on the arc from host to donor. One value per vector; the caller averages."""

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.geometry import angle, cosine
from lm_merge.operators import slerp


def midness(
    host: Float[Tensor, "*batch d_model"],
    donor: Float[Tensor, "*batch d_model"],
    merged: Float[Tensor, "*batch d_model"],
) -> Float[Tensor, "*batch 1"]:
    """Cosine of the merge with the midpoint of the host-donor arc, in [-1, 1].

    1 on the ray through slerp(host, donor, 1/2). NaN for a zero vector and for opposite parents.
    Source: "midpoint cosine" of the latent-merging paper (OpenReview ocEoHCrezd).

    >>> import torch
    >>> host, donor = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> midness(host, donor, merged=host + donor)
    tensor([[1.]])
    """
    states = torch.stack([host, donor])
    half = torch.full((2, *(1,) * host.ndim), 0.5, dtype=host.dtype, device=host.device)
    return cosine(merged, slerp(states, half))


def arc_ratio(
    host: Float[Tensor, "*batch d_model"],
    donor: Float[Tensor, "*batch d_model"],
    merged: Float[Tensor, "*batch d_model"],
) -> Float[Tensor, "*batch 1"]:
    """Share of the host-donor arc that the merge has travelled, dimensionless, at least 0.

    angle(host, merged) / angle(host, donor): 0 at the host, 1 at the donor; slerp gives alpha.
    NaN where host and donor are parallel.

    >>> import torch
    >>> host, donor = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> arc_ratio(host, donor, merged=host + donor)
    tensor([[0.5000]])
    """
    whole = angle(host, donor)
    return angle(host, merged) / whole.masked_fill(whole == 0, torch.nan)


def arc_deviation(
    host: Float[Tensor, "*batch d_model"],
    donor: Float[Tensor, "*batch d_model"],
    merged: Float[Tensor, "*batch d_model"],
    target: float = 0.5,
) -> Float[Tensor, "*batch 1"]:
    """Distance of the arc ratio from a target share of the arc, dimensionless, at least 0.

    >>> import torch
    >>> host, donor = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> arc_deviation(host, donor, merged=donor)
    tensor([[0.5000]])
    """
    return (arc_ratio(host, donor, merged) - target).abs()


def arc_deviation_rad(
    host: Float[Tensor, "*batch d_model"],
    donor: Float[Tensor, "*batch d_model"],
    merged: Float[Tensor, "*batch d_model"],
) -> Float[Tensor, "*batch 1"]:
    """How far the merge's angle from the host is from half the arc, radians, in [0, pi].

    |angle(host, merged) - angle(host, donor) / 2|: the published code's form, which grows with the
    arc itself; `arc_deviation` is the dimensionless one.

    >>> import torch
    >>> host, donor = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> arc_deviation_rad(host, donor, merged=donor)  # pi / 4
    tensor([[0.7854]])
    """
    return (angle(host, merged) - angle(host, donor) / 2).abs()
