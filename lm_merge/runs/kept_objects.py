"""Large objects, such as loaded models, kept from one cell to the next within a budget of bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")


class KeptObjects:
    """Objects by key; those used least recently are dropped so that the sum stays within the budget.

    An object is shared by all who ask for its key: whoever changes it changes it for the next cell.

    >>> kept = KeptObjects(budget_bytes=10)
    >>> kept.get("a", lambda: "model a", lambda model: 6)
    'model a'
    >>> kept.get("b", lambda: "model b", lambda model: 6)
    'model b'
    >>> kept.keys()
    ('b',)
    """

    def __init__(self, budget_bytes: int = 0) -> None:
        self._kept: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self.budget_bytes = budget_bytes

    @property
    def budget_bytes(self) -> int:
        """Bytes that are kept at most; what exceeds a lower one is dropped when it is set."""
        return self._budget_bytes

    @budget_bytes.setter
    def budget_bytes(self, n_bytes: int) -> None:
        if n_bytes < 0:
            raise ValueError(f"budget_bytes={n_bytes}: give 0 (keep nothing) or more")
        self._budget_bytes = n_bytes
        self.make_room(0)

    @property
    def n_bytes(self) -> int:
        """Bytes that are kept now."""
        return sum(size for _, size in self._kept.values())

    def keys(self) -> tuple[Hashable, ...]:
        """What is kept, the least recently used first."""
        return tuple(self._kept)

    def get(
        self,
        key: Hashable,
        load: Callable[[], T],
        size: Callable[[T], int],
        *,
        expected_bytes: int = 0,
    ) -> T:
        """The object of that key, loaded if it is not kept.

        key: everything that `load` depends on, the content of its files included. size: bytes of an
        object. expected_bytes: room that is made before loading, so that old and new together stay
        within the budget. An object larger than the budget is given and not kept.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]  # pyright: ignore[reportReturnType] # what `load` gave before
        self.make_room(expected_bytes)
        loaded = load()
        n_bytes = size(loaded)
        if n_bytes <= self.budget_bytes:
            self.make_room(n_bytes)
            self._kept[key] = loaded, n_bytes
        return loaded

    def make_room(self, n_bytes: int) -> None:
        """Drop the least recently used until so many bytes of the budget are free, or none is kept."""
        while self._kept and self.n_bytes + n_bytes > self.budget_bytes:
            self._kept.popitem(last=False)


BETWEEN_CELLS = KeptObjects()
"""Those of this process. `sweep(keep_bytes=...)` sets the budget, in the processes of Ray, too."""
