"""A merge's callbacks on a model's forward passes, in either of its views, and their removal."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from lm_merge.generation.static.obstacles import MergeCallback
from lm_merge.models import HookedLM
from lm_merge.sites.hooked_transformer import intercepted
from lm_merge.sites.resid_post import RESID_POST
from lm_merge.sites.site import Site


@runtime_checkable
class ForwardCallbacks(Protocol):
    """What is called before, during and after a forward pass of a model."""

    def begin(self, module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Before the forward of a Hugging Face module; may change the keywords in place."""
        ...

    def begin_hooked_transformer(
        self, tokens: Tensor, attention_mask: Tensor | None, cache: Any
    ) -> None:
        """The same before the forward of a HookedTransformer."""
        ...

    def at_layer(self, layer: int, state: Tensor) -> Tensor | None:
        """The state that replaces the one at this layer; None to leave it."""
        ...

    def end(self) -> None:
        """After the forward."""
        ...


@contextmanager
def attach_native(
    model: HookedLM, layers: Sequence[int], callbacks: ForwardCallbacks, site: Site = RESID_POST
) -> Iterator[None]:
    """Call back at every forward of the native view, and at the site of each layer.

    What `at_layer` gives replaces the state before any hook of the user's own sees it.
    """

    def hook_at(layer: int) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            state = callbacks.at_layer(layer, site.state(output))
            return None if state is None else site.with_state(output, state)

        return hook

    blocks = model.native_blocks()
    hooks = [(site.native_module(model, blocks[layer]), hook_at(layer)) for layer in layers]
    with _registered(model.native, hooks, callbacks):
        yield


@contextmanager
def attach_hooked(
    model: HookedLM, layers: Sequence[int], callbacks: ForwardCallbacks, site: Site = RESID_POST
) -> Iterator[None]:
    """The same on the hooked view, at TransformerLens's hook point of each layer.

    The hooks stand outside TransformerLens's own bookkeeping, so that `reset_hooks` and the end of a
    `run_with_hooks` leave them alone.
    """

    def hook_at(layer: int) -> Any:
        return lambda module, inputs, output: callbacks.at_layer(layer, output)

    blocks = model.hooked.blocks
    hooks = [(site.hooked_module(blocks[layer]), hook_at(layer)) for layer in layers]
    if model.native is not None:
        with _registered(model.hooked.original_model, hooks, callbacks):
            yield
        return
    begin, end = callbacks.begin_hooked_transformer, callbacks.end
    with intercepted(model.hooked, begin, end), _registered(None, hooks, callbacks):
        yield


@contextmanager
def _registered(
    root: Any, hooks: Sequence[tuple[nn.Module, Any]], callbacks: ForwardCallbacks
) -> Iterator[None]:
    with ExitStack() as stack:
        for module, hook in hooks:
            stack.callback(module.register_forward_hook(MergeCallback(hook), prepend=True).remove)
        if root is not None:
            root = root.base_model  # so that a body run by itself is merged, too
            begin = root.register_forward_pre_hook(
                MergeCallback(callbacks.begin), with_kwargs=True, prepend=True
            )
            stack.callback(begin.remove)
            end = root.register_forward_hook(
                MergeCallback(lambda *_: callbacks.end()), prepend=True
            )
            stack.callback(end.remove)
        yield
