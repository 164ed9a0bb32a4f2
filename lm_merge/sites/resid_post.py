"""The residual stream after a block: `resid_post`, TransformerLens's `blocks.{l}.hook_resid_post`."""

from typing import Any

from torch import Tensor, nn

from lm_merge.models import HookedLM
from lm_merge.models.forward_pass import hidden_of


class ResidPost:
    """The residual stream as a block hands it to the next one, or to the final norm."""

    def native_module(self, model: HookedLM, block: nn.Module) -> nn.Module:
        """The block itself."""
        return block

    def hooked_module(self, block: Any) -> nn.Module:
        """TransformerLens's hook_resid_post."""
        return block.hook_resid_post

    def state(self, output: Any) -> Tensor:
        """The hidden state, which some families' blocks wrap in a tuple."""
        return hidden_of(output)

    def with_state(self, output: Any, state: Tensor) -> Any:
        """The block's output around another hidden state."""
        return (state, *output[1:]) if isinstance(output, tuple) else state


RESID_POST = ResidPost()
