"""Merges of full models, which have no block of their own: in weights, in logits, in latents."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.models.tail import Tail
from lm_merge.scoring.compositions import Compositions
from lm_merge.scoring.next_tokens import end_of
from lm_merge.scoring.texts import Texts
from lm_merge.sites import record_resid_post


class FullModelMerge(NamedTuple):
    """A merge without a block of its own; alpha is NaN where not all of it has the same."""

    space: str
    operator: str
    alpha: float


@dataclass(frozen=True)
class NextTokenOutput:
    """A full-model merge on a batch; end: resid_post of its last block, if it has one."""

    logits: Float[Tensor, "batch pos d_vocab"]
    end: Float[Tensor, "batch pos d_model"] | None = None


def full_model_merges(merges: Compositions) -> dict[FullModelMerge, float]:
    """The merges of a recipe, each with its alpha."""
    space, operator = merges.recipe.space, merges.recipe.operator
    return {FullModelMerge(space, operator, alpha): alpha for alpha in merges.at}


def outputs(merges: Compositions, texts: Texts) -> Iterator[tuple[FullModelMerge, NextTokenOutput]]:
    """The output of each of them on a batch, and its stream at the last block if it has one."""
    tokens, mask, space = texts.tokens, texts.attention_mask, merges.recipe.space
    for key, alpha in full_model_merges(merges).items():
        with torch.no_grad(), merges.at[alpha]() as model:
            if space == "weights":
                passed = Tail(model).record(tokens, mask, layers=())
                output = NextTokenOutput(passed.tail.readout(end_of(passed)), end_of(passed))
            elif space in (
                "latents",
                "adapters",
            ):  # a tail has no hooks, so it would compute the host alone
                end = record_resid_post(model, tokens, mask)[-1]
                output = NextTokenOutput(model(tokens, mask), end)
            else:
                output = NextTokenOutput(model(tokens, mask))
        yield key, output
