"""The logits that a forward pass ends with: where an ensemble replaces a host's output."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from lm_merge.generation.static.obstacles import MergeCallback
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
    running: list[bool] = []

    def refuse_body_alone(*_: Any) -> None:
        if not running:
            raise RuntimeError(
                f"the body of {model.name!r} was called by itself inside the hooks of an ensemble, "
                "which merges logits: call the model with its head, or leave the hooks first"
            )

    with ExitStack() as stack:
        for handle in (
            native.register_forward_pre_hook(MergeCallback(begin), with_kwargs=True, prepend=True),
            native.register_forward_hook(MergeCallback(end), with_kwargs=True, prepend=True),
            native.register_forward_pre_hook(MergeCallback(lambda *_: running.append(True))),
            native.register_forward_hook(
                MergeCallback(lambda *_: running.clear()), always_call=True
            ),
        ):
            stack.callback(handle.remove)
        if native.base_model is not native:
            refuse = MergeCallback(refuse_body_alone)
            stack.callback(native.base_model.register_forward_pre_hook(refuse).remove)
        yield
