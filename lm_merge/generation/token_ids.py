"""Which ids stand for a token: unembeddings may have further rows, and those are never drawn."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase


def ids_with_token(tokenizer: PreTrainedTokenizerBase) -> Int64[Tensor, " n_tokens"]:
    """The ids for which a tokenizer has a token, rising; added tokens may leave gaps between them.

    Raises ValueError for a tokenizer of special tokens alone, which transformers makes for a folder
    without tokenizer files: by it hardly any id could be drawn.
    """
    known = tokenizer.get_vocab()
    if known.keys() <= set(tokenizer.all_special_tokens):
        raise ValueError(
            f"tokenizer: it has no token besides its special ones ({len(known)} of them); the model's "
            "folder has no tokenizer files. Add them, or set the tokenizer to None"
        )
    return torch.tensor(sorted(set(known.values())), dtype=torch.long)


def n_token_rows(tokenizer: PreTrainedTokenizerBase) -> int:
    """One more than the highest id that has a token: every row beyond it is padding."""
    return int(ids_with_token(tokenizer)[-1]) + 1


def without_token(tokenizer: PreTrainedTokenizerBase, d_vocab: int) -> Bool[Tensor, " d_vocab"]:
    """Which rows of an unembedding stand for no token."""
    none = torch.ones(d_vocab, dtype=torch.bool)
    ids = ids_with_token(tokenizer)
    none[ids[ids < d_vocab]] = False
    return none


class TokensOnly(LogitsProcessor):
    """Gives every id without a token the logit minus infinity; of models of any number of rows."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._masks: dict[tuple[int, torch.device], Tensor] = {}

    def __call__(
        self, input_ids: Tensor, scores: Float[Tensor, "batch d_vocab"]
    ) -> Float[Tensor, "batch d_vocab"]:
        key = scores.shape[-1], scores.device
        if key not in self._masks:
            self._masks[key] = without_token(self._tokenizer, key[0]).to(key[1])
        return scores.masked_fill(self._masks[key], -torch.inf)


def with_tokens_only(
    arguments: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase | None
) -> dict[str, Any]:
    """Arguments of `generate` by which no id without a token is drawn; as they are without tokenizer.

    Processors that were given come first.
    """
    given = arguments.get("logits_processor") or []
    if tokenizer is None or any(isinstance(one, TokensOnly) for one in given):
        return dict(arguments)
    processors = LogitsProcessorList([*given, TokensOnly(tokenizer)])
    return {**arguments, "logits_processor": processors}
