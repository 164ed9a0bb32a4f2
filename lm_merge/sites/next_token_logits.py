"""The logits that a forward pass ends with: where an ensemble replaces a host's output."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from lm_merge.models import HookedLM

Begin = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]
End = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]


@contextmanager
def attach_logits(model: HookedLM, begin: Begin, end: End) -> Iterator[None]:
    """Call back before and after a forward of the native view; what `end` gives is its output.

    `begin` may change the keywords in place, and `end` sees them so changed, before any hook of the
    user's own sees the output.
    """
    native: Any = model.native
    before = native.register_forward_pre_hook(begin, with_kwargs=True, prepend=True)
    after = native.register_forward_hook(end, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        before.remove()
        after.remove()
