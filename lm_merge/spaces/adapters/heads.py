"""Modules that adapters trained whole, such as a classifier's head: kept one at a time, or averaged."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Shaped
from torch import Tensor

from lm_merge.models.adapters import Adapter

HeadPolicy = Literal["keep", "average", "error"]
Heads = dict[str, Shaped[Tensor, "..."]]


def check_policy(policy: str, adapters: Sequence[Adapter]) -> None:
    """Raise ValueError for an unknown policy, and for heads where the policy is 'error'."""
    if policy not in get_args(HeadPolicy):
        raise ValueError(
            f"heads={policy!r} is unknown; choose from {', '.join(get_args(HeadPolicy))}"
        )
    owners = [one.name for one in adapters if one.heads]
    if policy == "error" and owners:
        raise ValueError(
            f"heads='error', but {', '.join(owners)} trained modules whole (modules_to_save); take "
            "'keep' to use one adapter's at a time, or 'average'"
        )


def merged_heads(
    adapters: Sequence[Adapter],
    policy: HeadPolicy,
    parts: Sequence[float],
    chosen: str | None,
) -> Heads:
    """The heads that replace the base's; empty where no adapter has any.

    keep: those of the adapter `chosen`, or of the only one that has heads. average: the mean weighted by
    the parts of the adapters that have heads. Raises ValueError where several have heads and none is
    chosen, and where heads to be averaged differ in names or shapes.
    """
    owners = [(one, part) for one, part in zip(adapters, parts, strict=True) if one.heads]
    if not owners:
        return {}
    names = [one.name for one, _ in owners]
    if policy == "keep":
        if chosen is None and len(owners) > 1:
            raise ValueError(
                f"{', '.join(names)} each have a head of their own: choose one with merge.head = "
                f"{names[0]!r}, or merge with heads='average'"
            )
        if chosen is not None and chosen not in names:
            raise ValueError(f"head={chosen!r}: choose from {', '.join(names)}")
        wanted = names[0] if chosen is None else chosen
        return dict(next(one.heads for one, _ in owners if one.name == wanted))
    return _average([one for one, _ in owners], [part for _, part in owners])


def _average(owners: Sequence[Adapter], parts: Sequence[float]) -> Heads:
    first = owners[0]
    for other in owners[1:]:
        ours = {key: tuple(head.shape) for key, head in first.heads.items()}
        theirs = {key: tuple(head.shape) for key, head in other.heads.items()}
        if ours != theirs:
            raise ValueError(
                f"heads='average': {first.name!r} has heads {ours}, {other.name!r} has {theirs}"
            )
    total = sum(parts)
    if total == 0:
        raise ValueError("heads='average': the parts of the adapters with heads sum to 0")
    return {
        key: torch.stack(
            [part / total * one.heads[key].float() for one, part in zip(owners, parts, strict=True)]
        ).sum(dim=0)
        for key in first.heads
    }
