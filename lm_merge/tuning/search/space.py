"""What a search varies: numbers within bounds and choices, as points of a unit cube."""

import itertools
import math
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, model_validator

RESOLUTION = 0.05  # of a float's range: points that are nearer count as the same place
DIGITS = 12
Points = Float[ndarray, "_ parameters"]


class Parameter(BaseModel):
    """A number within bounds, or a choice.

    integer: whole numbers only. log: even steps in the logarithm. n_points: values of a number in a
    grid. when: other parameter -> values with which this one counts; with others it is left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    integer: bool = False
    log: bool = False
    n_points: PositiveInt = 5
    choices: tuple[Any, ...] = ()
    when: dict[str, tuple[Any, ...]] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _a_list_is_choices(cls, given: Any) -> Any:
        return {"choices": tuple(given)} if isinstance(given, list | tuple) else given

    @model_validator(mode="after")
    def _one_kind(self) -> "Parameter":
        if bool(self.choices) == (self.low is not None or self.high is not None):
            raise ValueError("give low and high, or choices, not both and not neither")
        if self.choices:
            if self.integer or self.log:
                raise ValueError("choices have no integer and no log; leave them out")
            return self
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"low={self.low}, high={self.high}: give two numbers, low below high")
        if self.log and self.low <= 0:
            raise ValueError(f"low={self.low}: a logarithmic parameter starts above 0")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"low={self.low}, high={self.high}: integer takes whole bounds")
        return self

    def value(self, place: float) -> Any:
        """The value at a place in [0, 1]."""
        if self.choices:
            return self.choices[min(int(place * len(self.choices)), len(self.choices) - 1)]
        low, high = self._bounds
        inner = low + place * (high - low)
        value = math.exp(inner) if self.log else inner
        assert self.low is not None
        assert self.high is not None
        value = min(max(value, self.low), self.high)
        return round(value) if self.integer else float(value)

    def place(self, value: Any) -> float | None:
        """The place of a value; None for one outside of the parameter."""
        if self.choices:
            if value not in self.choices:
                return None
            return (self.choices.index(value) + 0.5) / len(self.choices)
        assert self.low is not None
        assert self.high is not None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not self.low <= value <= self.high or (self.integer and value != round(value)):
            return None
        low, high = self._bounds
        return ((math.log(value) if self.log else value) - low) / (high - low)

    def snapped(self, places: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
        """The places at which the same values stand."""
        if self.choices:
            n = len(self.choices)
            return (np.minimum(np.floor(places * n), n - 1) + 0.5) / n
        low, high = self._bounds
        inner = low + np.clip(places, 0, 1) * (high - low)
        if self.integer:
            inner = np.log(np.round(np.exp(inner))) if self.log else np.round(inner)
        return (inner - low) / (high - low)

    @property
    def step(self) -> float:
        """Distance of places that count as the same: of choices none but equal ones."""
        if self.choices:
            return 0.0
        assert self.low is not None
        assert self.high is not None
        own = 1 / (self.high - self.low) if self.integer and not self.log else 0.0
        return max(own, RESOLUTION)

    def grid(self) -> list[float]:
        """Places of a grid: all choices, or n_points values from low to high."""
        if self.choices:
            return [(n + 0.5) / len(self.choices) for n in range(len(self.choices))]
        places = np.linspace(0, 1, self.n_points) if self.n_points > 1 else [0.5]
        return [float(one) for one in places]

    @property
    def _bounds(self) -> tuple[float, float]:
        assert self.low is not None
        assert self.high is not None
        return (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)


class SearchSpace:
    """Named parameters; a point has a place in [0, 1] for each.

    Raises ValueError for no parameter, and for a `when` that names none of the space or leads back to
    its own parameter.
    """

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        if not parameters:
            raise ValueError("space is empty: name at least one parameter")
        for name, one in parameters.items():
            unknown = sorted(set(one.when) - set(parameters))
            if unknown:
                raise ValueError(f"space {name}: when names {unknown}, which the space lacks")
        try:
            TopologicalSorter({name: one.when for name, one in parameters.items()}).prepare()
        except CycleError as error:
            circle = " -> ".join(reversed(error.args[1]))
            raise ValueError(
                f"space: when leads in a circle ({circle}), so none of these parameters could ever "
                "count; leave one of these conditions out"
            ) from error
        self.parameters = dict(parameters)

    def values(self, point: Sequence[float] | ndarray) -> dict[str, Any]:
        """Parameter -> value at a point; without those whose `when` does not hold."""
        found = {
            name: one.value(float(place))
            for (name, one), place in zip(self.parameters.items(), point, strict=True)
        }
        return {name: one for name, one in found.items() if self._counts(name, found)}

    def point(self, values: Mapping[str, Any]) -> ndarray | None:
        """The point with these values; None where they are not those of a point of this space."""
        places = []
        for name, one in self.parameters.items():
            if not self._counts(name, values):
                if name in values:
                    return None
                places.append(0.5)
                continue
            place = one.place(values[name]) if name in values else None
            if place is None:
                return None
            places.append(place)
        known = set(values) <= set(self.parameters)
        return np.round(places, DIGITS) if known else None  # the same after log and exp

    def snapped(self, points: Points) -> Points:
        """The points at which the same values stand: whole numbers, choices, and what does not count."""
        parts = zip(self.parameters.values(), points.T, strict=True)
        snapped = np.stack([one.snapped(places) for one, places in parts], axis=1)
        counts: dict[str, ndarray] = {}
        for number, name in enumerate(self.parameters):
            snapped[~self._counting(name, snapped, counts), number] = 0.5
        return np.round(snapped, DIGITS)

    def features(self, points: Points) -> Float[ndarray, "n features"]:
        """What a model of the space sees: one column a number, one column a choice's value."""
        columns: list[ndarray] = []
        for number, one in enumerate(self.parameters.values()):
            places = points[:, number]
            if not one.choices:
                columns.append(places)
                continue
            chosen = np.minimum((places * len(one.choices)).astype(int), len(one.choices) - 1)
            columns += [(chosen == n).astype(float) for n in range(len(one.choices))]
        return np.stack(columns, axis=1)

    def same_place(self, one: ndarray, other: ndarray) -> bool:
        """Whether two points are at most one step of resolution apart in every parameter."""
        steps = np.array([parameter.step for parameter in self.parameters.values()])
        return bool((np.abs(one - other) <= steps + 1e-12).all())

    def grid(self) -> list[ndarray]:
        """Every combination, each once, the last parameter turning fastest."""
        places = [one.grid() for one in self.parameters.values()]
        points = self.snapped(np.array(list(itertools.product(*places))))
        return [np.array(one) for one in dict.fromkeys(map(tuple, points))]

    def _counts(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether a parameter's conditions hold, and those of the parameters in them."""
        return all(
            other in values and values[other] in allowed and self._counts(other, values)
            for other, allowed in self.parameters[name].when.items()
        )

    def _counting(self, name: str, points: Points, known: dict[str, ndarray]) -> ndarray:
        """`_counts` for many points; known: of parameters that were asked for before."""
        if name not in known:
            holds = np.ones(len(points), dtype=bool)
            for other, allowed in self.parameters[name].when.items():
                one, places = self.parameters[other], points[:, list(self.parameters).index(other)]
                holds &= np.array([one.value(float(place)) in allowed for place in places], bool)
                holds &= self._counting(other, points, known)
            known[name] = holds
        return known[name]
