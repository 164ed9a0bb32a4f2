"""Hanging a merge's three callbacks on a model, in either of its views, and taking them off."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from lm_merge.models import HookedLM
from lm_merge.models.forward_pass import hidden_of
from lm_merge.models.legacy import Begin as BeginLegacy
from lm_merge.models.legacy import intercepted

Begin = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]
AtBlock = Callable[[int, Tensor], Tensor | None]
End = Callable[[], None]
EndOfForward = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]


@contextmanager
def attach_native(
    model: HookedLM, layers: Sequence[int], begin: Begin, at_block: AtBlock, end: End
) -> Iterator[None]:
    """Call back before, during (after each named block) and after a forward of the native view.

    What `at_block` gives replaces the block's output, before any hook of the user's own sees it.
    """
    blocks = model.native_blocks()

    def block_hook(layer: int) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            merged = at_block(layer, hidden_of(output))
            if merged is None:
                return None
            return (merged, *output[1:]) if isinstance(output, tuple) else merged

        return hook

    points = {layer: (blocks[layer], block_hook(layer)) for layer in layers}
    with _hanging(model.native, points, begin, end):
        yield


@contextmanager
def attach_hooked(
    model: HookedLM,
    layers: Sequence[int],
    begin: Begin,
    at_block: AtBlock,
    end: End,
    begin_legacy: BeginLegacy,
) -> Iterator[None]:
    """The same on the hooked view, at TransformerLens's hook_resid_post of each named block.

    `begin_legacy` stands for `begin` where the hooked view is a HookedTransformer.

    The hooks stand outside TransformerLens's own bookkeeping, so that `reset_hooks` and the end of a
    `run_with_hooks` leave them alone.
    """

    def point_hook(layer: int) -> Any:
        return lambda module, inputs, output: at_block(layer, output)

    points = {
        layer: (model.hooked.blocks[layer].hook_resid_post, point_hook(layer)) for layer in layers
    }
    if model.native is None:
        with intercepted(model.hooked, begin_legacy, end), _hanging(None, points, begin, end):
            yield
    else:
        with _hanging(model.hooked.original_model, points, begin, end):
            yield


@contextmanager
def attach_logits(model: HookedLM, begin: Begin, end: EndOfForward) -> Iterator[None]:
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


@contextmanager
def _hanging(
    root: Any, points: dict[int, tuple[nn.Module, Any]], begin: Begin, end: End
) -> Iterator[None]:
    with ExitStack() as stack:
        handles: list[Any] = []
        stack.callback(lambda: [handle.remove() for handle in handles])
        for module, hook in points.values():
            handles.append(module.register_forward_hook(hook, prepend=True))
        if root is not None:
            handles.append(root.register_forward_pre_hook(begin, with_kwargs=True, prepend=True))
            handles.append(root.register_forward_hook(lambda *_: end(), prepend=True))
        yield
