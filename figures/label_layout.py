"""Places for text labels, so that no two overlap."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

_MOST_ROUNDS = 1000
_SLACK = 0.5  # pixels beyond touching, so that the pushing ends


class LabelBox(NamedTuple):
    """A label in pixels: the centre it would like to have, and its size."""

    x: float
    y: float
    width: float
    height: float


def spread_vertically(boxes: Sequence[LabelBox]) -> list[float]:
    """The y of each box after overlapping ones were pushed apart, half the way each.

    x never changes. The order of the result is that of `boxes`.
    """
    places = list(boxes)
    for _ in range(_MOST_ROUNDS):
        crossing = [pair for pair in combinations(range(len(places)), 2) if _overlap(places, *pair)]
        if not crossing:
            break
        for first, second in crossing:
            _push_apart(places, first, second)
    return [box.y for box in places]


def _gap(one: LabelBox, other: LabelBox) -> float:
    """Free height between two boxes; negative by as much as they overlap."""
    return abs(one.y - other.y) - (one.height + other.height) / 2


def _overlap(places: Sequence[LabelBox], first: int, second: int) -> bool:
    one, other = places[first], places[second]
    overlapping = abs(one.x - other.x) < (one.width + other.width) / 2
    return overlapping and _gap(one, other) < 0


def _push_apart(places: list[LabelBox], first: int, second: int) -> None:
    one, other = places[first], places[second]
    push = max(0.0, _SLACK - _gap(one, other)) / 2
    push = push if one.y >= other.y else -push
    places[first] = one._replace(y=one.y + push)
    places[second] = other._replace(y=other.y - push)
