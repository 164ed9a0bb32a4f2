"""Whether token ids mean the same in two checkpoints, and how rows are matched where they do not."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from lm_merge.spaces.weights.checkpoint import Checkpoint


@dataclass(frozen=True)
class RowMap:
    """Rows of a vocabulary tensor put in the output's order.

    rows: for each row of the output, the row of this model, or -1: then the filler's row is taken.
    """

    rows: Int64[Tensor, " d_vocab"]
    note: str


def vocabulary(folder: Path) -> dict[str, int] | None:
    """Token -> id of a folder's tokenizer, added tokens included; None where no file says it."""
    path = folder / "tokenizer.json"
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        words = content.get("model", {}).get("vocab", {})
        if isinstance(words, list):  # unigram: [token, score] in the order of ids
            words = {entry[0]: number for number, entry in enumerate(words)}
        return words | {one["content"]: one["id"] for one in content.get("added_tokens") or ()}
    path = folder / "vocab.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def row_map(owner: Checkpoint, model: Checkpoint, *, matched: bool) -> RowMap | None:
    """How a model's vocabulary rows go into the rows of the tokenizer's owner; None: as they are.

    With equal vocabularies rows beyond them are padding: more are cut, missing ones are the owner's.
    With different ones, `matched` (a tokenizer_source was given) matches rows by token; else ValueError
    names a token in which they differ. Without tokenizer files only equal sizes fit.
    """
    ours, theirs = vocabulary(owner.folder), vocabulary(model.folder)
    sizes = n_rows(owner), n_rows(model)
    if ours is None or theirs is None:
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"models {owner.name!r} and {model.name!r} have {sizes[0]} and {sizes[1]} rows of "
                "vocabulary and no tokenizer files (tokenizer.json) that say which belong together"
            )
        return None
    if ours != theirs and not matched:
        differing = dict(ours.items() ^ theirs.items())
        word = min(differing, key=lambda token: (differing[token], token))
        raise ValueError(
            f"models {owner.name!r} and {model.name!r} differ in {len(differing)} tokens, for example "
            f"{word!r} with id {ours.get(word)} and {theirs.get(word)}; give tokenizer_source: base "
            "(or model:<name>) in mergekit's format to match rows by token"
        )
    if ours == theirs and sizes[0] == sizes[1]:
        return None
    rows = torch.full((sizes[0],), -1)
    for token, number in ours.items():
        place = theirs.get(token, -1)
        if number < sizes[0] and place < sizes[1]:
            rows[number] = place
    kind = "padding rows" if ours == theirs else "rows of tokens it lacks"
    count = int((rows < 0).sum())
    return RowMap(rows, f"{model.name}: {count} {kind} are those of {owner.name}")


def n_rows(model: Checkpoint) -> int:
    """Rows of the token embedding as the configuration gives them."""
    text = model.config.get("text_config")
    size = model.config.get(
        "vocab_size", text.get("vocab_size") if isinstance(text, dict) else None
    )
    if not isinstance(size, int):
        raise ValueError(f"{model.folder / 'config.json'} has no vocab_size")
    return size


def is_vocabulary_tensor(model: Checkpoint, tensor: str) -> bool:
    """Whether a tensor has one row a token: a token embedding or an unembedding."""
    shape = model.entries[tensor].shape
    named = any(part in tensor for part in ("embed", "wte", "lm_head", "output"))
    return named and len(shape) in (1, 2) and shape[0] == n_rows(model)
