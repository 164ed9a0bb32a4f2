"""What every space returns, as far as evaluation and analyses need it: one calling surface."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from lm_merge.generation import Prompts
from lm_merge.models import HookedLM


@runtime_checkable
class Composed(Protocol):
    """A model, or models that generate as one: HookedLM, LatentMerge, LogitEnsemble."""

    @property
    def name(self) -> str:
        """What it is made of, for tables and figures."""
        ...

    @property
    def host(self) -> HookedLM:
        """Its tokenizer, chat template and generation settings count; a model is its own host."""
        ...

    def __call__(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "batch pos d_vocab"]:
        """Logits of the next token at every position."""
        ...

    def generate(
        self,
        prompts: Prompts,
        *,
        max_new_tokens: int | None = None,
        chat: bool = False,
        attention_mask: Tensor | None = None,
        **arguments: Any,
    ) -> Any:
        """Continue prompts: str -> new text, list of str -> list, ids -> ids."""
        ...

    def hooks(self) -> AbstractContextManager[Any]:
        """Inside, `host.native` computes the whole composition for every caller."""
        ...


def composed_name(
    models: Sequence[str], space: str, operator: str, amount: str = "", where: str = ""
) -> str:
    """Name of a composition, for example 'tiny-instruct + tiny-thinker, latents slerp 0.5 at 3'."""
    return " ".join(filter(None, [f"{' + '.join(models)},", space, operator, amount, where]))


def amount_phrase(amounts: Sequence[Any]) -> str:
    """Alphas or weights in a name: once if all are the same; a gate by its kind."""
    words = [type(one).__name__ if callable(one) else f"{one:.3g}" for one in amounts]
    return words[0] if len(set(words)) == 1 else ", ".join(words)
