"""Texts through a model of transformers, batch by batch, in their order."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

Batch = dict[str, Tensor]
NO_LIMIT = 10**9


def by_batch(
    function: Callable[[Batch], Tensor],
    model: Any,
    tokenizer: PreTrainedTokenizerBase | None,
    texts: Sequence[str],
    *,
    batch_size: int,
    max_length: int | None,
    name: str,
) -> Float[Tensor, "texts d"]:
    """What a function gives for every text, in float32 on the CPU.

    tokenizer: None for a model that encodes texts itself (`encode_texts`). max_length: tokens after
    which texts are cut. Raises ValueError for no text, and for one longer than the model takes, unless
    it is cut.
    """
    if not texts:
        raise ValueError("texts: there is none; give at least one")
    with torch.inference_mode():
        if tokenizer is None:
            return function(model.encode_texts(tuple(texts))).float().cpu()
        encoded = token_ids(model, tokenizer, texts, max_length, name)
        order = sorted(range(len(texts)), key=lambda place: len(encoded[place]))
        rows: list[Tensor] = [torch.empty(0)] * len(texts)
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            padded = tokenizer.pad(
                {"input_ids": [encoded[place] for place in places]}, return_tensors="pt"
            )
            batch = {key: value.to(model.device) for key, value in padded.items()}
            for place, row in zip(places, function(batch).float().cpu(), strict=True):
                rows[place] = row
    return torch.stack(rows)


def mean_of_states(encoder: Any, batch: Batch) -> Float[Tensor, "texts d_model"]:
    """Mean of an encoder's last states over the tokens of each text, padding left out."""
    mask = batch.get("attention_mask")
    if mask is None:
        return encoder(**batch)  # one vector a text already
    states = encoder(**batch).last_hidden_state.float()
    kept = mask.unsqueeze(-1)
    return (states * kept).sum(dim=1) / kept.sum(dim=1)


def token_ids(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int | None,
    name: str,
) -> list[list[int]]:
    """Ids of every text. Raises ValueError for one longer than the model takes, unless it is cut."""
    cut: dict[str, Any] = {} if max_length is None else {"truncation": True}
    encoded: Any = tokenizer(list(texts), max_length=max_length, return_attention_mask=False, **cut)
    ids = encoded["input_ids"]
    most = min(tokenizer.model_max_length, _positions(model.config))
    longest = max(range(len(ids)), key=lambda place: len(ids[place]))
    if len(ids[longest]) > most:
        raise ValueError(
            f"text {longest} has {len(ids[longest])} tokens and model {name!r} takes {most}; give "
            f"max_length={most} to cut longer texts"
        )
    return ids


def _positions(config: Any) -> int:
    """Tokens that a model has positions for; RoBERTa's begin after its padding id."""
    most = getattr(config, "max_position_embeddings", None)
    if not isinstance(most, int):
        return NO_LIMIT
    return most - (config.pad_token_id + 1 if "roberta" in config.model_type else 0)
