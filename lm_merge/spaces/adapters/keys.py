"""Which modules are merged where adapters do not update the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lm_merge.models.adapters import Adapter
from lm_merge.operators.low_rank import LowRank

KeyMode = Literal["union", "common", "strict"]
N_SHOWN = 3


@dataclass(frozen=True)
class SharedKeys:
    """The modules that are merged, in the order of the first adapter that has them, and notes."""

    keys: tuple[str, ...]
    notes: tuple[str, ...]


def shared_keys(adapters: Sequence[Adapter], mode: KeyMode) -> SharedKeys:
    """Modules that are merged.

    union: every module; an adapter without it counts with an update of 0, which is exact. common: those
    that all adapters have; the others are dropped and noted. strict: ValueError with the differences
    unless all adapters have the same.
    """
    if mode not in get_args(KeyMode):
        raise ValueError(f"keys={mode!r} is unknown; choose from {', '.join(get_args(KeyMode))}")
    union = tuple(dict.fromkeys(key for adapter in adapters for key in adapter.deltas))
    common = tuple(key for key in union if all(key in one.deltas for one in adapters))
    partial = [key for key in union if key not in set(common)]
    if mode == "union" or not partial:
        return SharedKeys(union, ())
    if mode == "strict":
        lacking = [
            f"{one.name!r} lacks {_some([key for key in union if key not in one.deltas])}"
            for one in adapters
            if any(key not in one.deltas for key in union)
        ]
        raise ValueError(
            f"keys='strict', but the adapters update different modules: {'; '.join(lacking)}; take "
            "keys='union' (a missing update is 0) or 'common'"
        )
    if not common:
        raise ValueError("keys='common', but no module is updated by all adapters")
    return SharedKeys(common, (f"keys='common' drops {len(partial)} modules: {_some(partial)}",))


def updates_of(adapters: Sequence[Adapter], key: str) -> list[LowRank]:
    """The update of a module by every adapter; rank 0 where an adapter has none.

    Raises ValueError for updates of different shapes.
    """
    known = {one.name: one.deltas[key] for one in adapters if key in one.deltas}
    shapes = {name: delta.shape for name, delta in known.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"adapters update {key!r} in different shapes: {shapes}")
    some = next(iter(known.values()))
    nothing = LowRank(some.a[:0], some.b[:, :0])
    return [one.deltas.get(key, nothing) for one in adapters]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - N_SHOWN} more" if len(names) > N_SHOWN else ""
    return ", ".join(names[:N_SHOWN]) + more
