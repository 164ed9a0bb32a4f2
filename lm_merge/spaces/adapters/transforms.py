"""Changes of each adapter's update before they are merged, in the order that the recipe gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from lm_merge.operators.low_rank import LowRank
from lm_merge.operators.random_masks import keep_random, mask_seed
from lm_merge.operators.sparse import keep_largest

Matrix = Float[Tensor, "d_out d_in"]


@dataclass(frozen=True)
class Transform:
    """A change of one update.

    matrix: takes the dense update and the options of the recipe; None for one that looks at all updates
    (equal_norm, elect). options: their names, all needed but `seed`.
    """

    matrix: Callable[..., Matrix] | None
    options: tuple[str, ...] = ()


def _identity(update: Matrix) -> Matrix:
    return update


def _trim(update: Matrix, *, density: float) -> Matrix:
    return keep_largest(update.flatten(), density=density).view_as(update)


def _keep_random(update: Matrix, *, density: float, seed: int) -> Matrix:
    return keep_random(update, density=density, seed=seed)


TRANSFORMS: dict[str, Transform] = {
    "identity": Transform(_identity),
    "trim": Transform(_trim, ("density",)),
    "keep_random": Transform(_keep_random, ("density", "seed")),
    "equal_norm": Transform(None),
    "elect": Transform(None),
}


@dataclass(frozen=True)
class Step:
    """One entry of a recipe's `transforms`: a name, or a name with options."""

    name: str
    options: Mapping[str, float]

    @property
    def keeps_rank(self) -> bool:
        """Whether the update stays low rank."""
        return self.name in ("identity", "equal_norm")


def read_steps(given: Sequence[str | Mapping[str, Any]]) -> tuple[Step, ...]:
    """Check `transforms`: names such as 'equal_norm', or mappings such as {trim: {density: 0.2}}."""
    return tuple(_step(one) for one in given)


def _step(given: str | Mapping[str, Any]) -> Step:
    if isinstance(given, str):
        name, options = given, {}
    elif isinstance(given, Mapping) and len(given) == 1:
        ((name, options),) = given.items()
        options = dict(options or {})
    else:
        raise ValueError(
            f"transforms: {given!r} is neither a name nor a name with its options, such as "
            "{trim: {density: 0.2}}"
        )
    if name not in TRANSFORMS:
        raise ValueError(f"unknown transform {name!r}; choose from {', '.join(sorted(TRANSFORMS))}")
    known = TRANSFORMS[name].options
    if "seed" in known:
        options.setdefault("seed", 0)
    if set(options) != set(known):
        needed = ", ".join(known) or "no options"
        raise ValueError(f"transform {name!r} takes {needed}; given are {sorted(options)}")
    density = options.get("density", 1.0)
    if not isinstance(density, int | float) or not 0 < density <= 1:
        raise ValueError(f"transform {name!r}: density={density!r} is outside 0..1 (0 excluded)")
    return Step(name, options)


def transformed(update: Matrix, steps: Sequence[Step], *, key: str, source: int) -> Matrix:
    """An update after the steps that act on single values; random ones are seeded by key and source."""
    for step in steps:
        change, options = TRANSFORMS[step.name].matrix, dict(step.options)
        if change is None:
            continue
        if "seed" in options:
            options["seed"] = mask_seed(int(options["seed"]), key, source)
        update = change(update, **options)
    return update


def equal_norm_factors(squared_norms: Sequence[float]) -> list[float]:
    r"""Factors that give every adapter the mean norm: $\bar n / n_i$, n over all of its modules.

    An adapter whose update is 0 keeps a factor of 1.
    """
    norms = [value**0.5 for value in squared_norms]
    mean = sum(norms) / len(norms)
    return [mean / norm if norm > 0 else 1.0 for norm in norms]


def elected(
    updates: Float[Tensor, "n_sources d_out d_in"],
) -> Float[Tensor, "n_sources d_out d_in"]:
    """The updates with 0 in place of each value whose sign is not that of all updates' sum there.

    With `trim` before it this is TIES' consensus, on which AdaMerging++ fits coefficients (Yang et al.
    2024).
    """
    return updates * (updates.sum(dim=0).sign() == updates.sign())


def scaled(update: LowRank, factor: float) -> LowRank:
    """An update times a number."""
    return LowRank(update.a, update.b, update.scale * factor)
