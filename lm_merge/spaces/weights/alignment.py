"""Checkpoints put into the form in which they are merged: one set of names, no tensor twice."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import torch

from lm_merge.models.model_class import names_in_class
from lm_merge.spaces.weights.checkpoint import Checkpoint, Entry

UNEMBEDDINGS = ("lm_head.weight", "embed_out.weight")
RECOMPUTED = re.compile(r"(rotary_\w*\.inv_freq|\.masked_bias|\.position_ids)$")
CAUSAL_MASK = re.compile(r"\.(attn|attention)\.bias$")
CHUNK = 1 << 22  # values compared at a time

Key = TypeVar("Key")


def aligned(checkpoints: Mapping[Key, Checkpoint], host: Key) -> dict[Key, Checkpoint]:
    """All checkpoints by the host's names, without recomputed buffers and copies of embeddings.

    Whether an unembedding is tied is decided by its values: one that equals the token embedding is
    left out where any model has none, and none of another's values is ever dropped.
    """
    found = {key: _without_buffers(model) for key, model in checkpoints.items()}
    for key, model in found.items():
        if set(model.entries) != set(found[host].entries):
            found[key] = _renamed(model, found[host])
    return _heads(found, host)


def unembedding(model: Checkpoint) -> str | None:
    """Name of the unembedding's tensor, if the checkpoint holds one."""
    held = [name for name in model.entries if name.endswith(UNEMBEDDINGS)]
    return held[0] if held else None


def token_embedding(model: Checkpoint) -> str | None:
    """Name of the tensor of token embeddings that an unembedding could be tied to."""
    named = re.compile(r"(embed_tokens|embed_in|wte|word_embeddings)\.weight$")
    held = [name for name in model.entries if named.search(name)]
    return held[0] if held else None


def _without_buffers(model: Checkpoint) -> Checkpoint:
    kept = {name: entry for name, entry in model.entries.items() if not _recomputed(name, entry)}
    return model if len(kept) == len(model.entries) else replace(model, entries=kept)


def _recomputed(name: str, entry: Entry) -> bool:
    mask = len(entry.shape) == 4 and entry.shape[:2] == (1, 1) and entry.shape[2] == entry.shape[3]
    return bool(RECOMPUTED.search(name)) or (mask and bool(CAUSAL_MASK.search(name)))


def _renamed(model: Checkpoint, host: Checkpoint) -> Checkpoint:
    """The model with the host's names for the tensors that transformers takes to be the same."""
    ours, theirs = (names_in_class(one.config, one.entries) for one in (host, model))
    names = {canonical: name for name, canonical in ours.items()}
    new = {name: names.get(canonical, name) for name, canonical in theirs.items()}
    if len(set(new.values())) < len(new):
        return model
    entries = {new[name]: entry for name, entry in model.entries.items()}
    stored = {new[name]: model.stored.get(name, name) for name in model.entries}
    return replace(model, entries=entries, stored=stored)


def _heads(found: dict[Key, Checkpoint], host: Key) -> dict[Key, Checkpoint]:
    heads = {key: unembedding(model) for key, model in found.items()}
    copies = {key for key, head in heads.items() if head is not None and _is_copy(found[key], head)}
    own = [key for key, head in heads.items() if head is not None and key not in copies]
    untied = found[host].config.get("tie_word_embeddings") is False
    if own or (untied and all(heads.values())):
        return found  # what lacks one, and has none to drop, is refused by name later
    return {
        key: replace(model, entries={n: e for n, e in model.entries.items() if n != heads[key]})
        for key, model in found.items()
    }


def _is_copy(model: Checkpoint, head: str) -> bool:
    """Whether an unembedding holds the values of the token embedding; most differ in the first rows."""
    embedding = token_embedding(model)
    if embedding is None or model.entries[embedding].shape != model.entries[head].shape:
        return False
    ours, theirs = (model.tensor(name).reshape(-1) for name in (head, embedding))
    starts = range(0, len(ours), CHUNK)
    return all(torch.equal(ours[at : at + CHUNK], theirs[at : at + CHUNK]) for at in starts)
