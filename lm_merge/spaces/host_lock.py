"""Who uses a host just now: one merge, in one thread, at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lm_merge.models import HookedLM
from lm_merge.models.weight_sharing import weight_sharing_copy

_TAKING = threading.Lock()


class HostLock:
    """A merge's lock on its host, which it may hold for several views and several times over.

    holder: the merge; its repr names it in errors.
    """

    def __init__(self, host: HookedLM, holder: Any) -> None:
        self.host, self.holder = host, holder
        self._thread = 0
        self._views: set[str] = set()

    @contextmanager
    def held(self, view: str) -> Iterator[bool]:
        """Inside, the host belongs to the holder; gives whether it already did for this view.

        Raises RuntimeError where another merge, or another thread, is at work on the host.
        """
        with _TAKING:
            nested, before = view in self._views, self.host.merge_attached
            self._take()
            self._views.add(view)
            self.host.merge_attached = self.holder
        try:
            yield nested
        finally:
            if not nested:
                self._views.discard(view)
                self.host.merge_attached = before

    def holds(self, view: str) -> bool:
        """Whether the holder has the host for this view just now."""
        return view in self._views

    def _take(self) -> None:
        present = self.host.merge_attached
        if present is None:
            self._thread = threading.get_ident()
        elif present is not self.holder:
            raise RuntimeError(
                f"host {self.host.name!r} is inside the hooks of another merge ({present!r}); "
                "leave that first, or load the host a second time"
            )
        self.check_thread()

    def check_thread(self) -> None:
        """Raise RuntimeError in any thread but the one that holds the host."""
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                f"host {self.host.name!r} is being merged in another thread; a host serves one thread "
                "at a time: wait for it, or load the host a second time"
            )


def unmerged(assistant: Any, host: HookedLM) -> Any:
    """A model to draft with next to a merged host; the host itself as a copy that is not merged."""
    model: Any = assistant.native if isinstance(assistant, HookedLM) else assistant
    return weight_sharing_copy(model) if model is host.native else model
