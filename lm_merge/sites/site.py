"""What a site is: a place in every block where a state is read and replaced."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from lm_merge.models import HookedLM


@runtime_checkable
class Site(Protocol):
    """A place in every block where a state [batch, pos, d_model] is read and replaced.

    A new site is one file with a class of these four methods: which module gives the state in either
    view of a model, and where the state is in that module's output.
    """

    def native_module(self, model: HookedLM, block: nn.Module) -> nn.Module:
        """The module of the native view whose output holds the state, within a block of the model."""
        ...

    def hooked_module(self, block: Any) -> nn.Module:
        """TransformerLens's hook point of the state, within a block of the hooked view."""
        ...

    def state(self, output: Any) -> Tensor:
        """The state in the native module's output."""
        ...

    def with_state(self, output: Any, state: Tensor) -> Any:
        """The native module's output with another state in it."""
        ...
