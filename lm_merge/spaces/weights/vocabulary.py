"""Whether token ids mean the same in two checkpoints, and how rows are matched where they do not."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from lm_merge.models.checkpoint_files import read_json
from lm_merge.models.tokenization import splitting_note, tokenization, tokenization_of
from lm_merge.models.tokenizer_files import WITH_WORDS
from lm_merge.spaces.weights.checkpoint import Checkpoint


@dataclass(frozen=True)
class RowMap:
    """Rows of a vocabulary tensor put in the output's order.

    rows: for each row of the output, the row of this model, or -1: then the filler's row is taken.
    """

    rows: Int64[Tensor, " d_vocab"]
    note: str


def vocabulary(folder: Path, name: str) -> dict[str, int] | None:
    """Token -> id of a folder's tokenizer, added tokens included; None where no file contains it.

    As transformers' tokenizer reads it, whichever files it comes in; tokenizer.json is read without it.
    Raises ValueError that names the model for a tokenizer that cannot be read.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        named = [one for one in WITH_WORDS if (folder / one).is_file()]
        return _loaded(folder, name).get_vocab() if named else None
    content = read_json(path, name)
    words = content.get("model", {}).get("vocab", {})
    if isinstance(words, list):  # unigram: [token, score] in the order of ids
        words = {entry[0]: number for number, entry in enumerate(words)}
    added = {one["content"]: one["id"] for one in content.get("added_tokens") or ()}
    return _added_later(folder, name) | words | added


def split_otherwise(owner: Checkpoint, model: Checkpoint) -> str | None:
    """A note where a tokenizer of the same tokens splits text in another way than the owner's."""
    ours, theirs = (_tokenization(one.folder, one.name) for one in (owner, model))
    return splitting_note(owner.name, model.name, ours, theirs)


def _tokenization(folder: Path, name: str) -> dict[str, Any] | None:
    path = folder / "tokenizer.json"
    if path.is_file():
        return tokenization(read_json(path, name))
    return tokenization_of(_loaded(folder, name))


def _added_later(folder: Path, name: str) -> dict[str, int]:
    """Tokens that only tokenizer_config.json lists, which the tokenizer gets when it is loaded."""
    path = folder / "tokenizer_config.json"
    listed = read_json(path, name).get("added_tokens_decoder") if path.is_file() else None
    if not isinstance(listed, dict):
        return {}
    return {one["content"]: int(number) for number, one in listed.items()}


def _loaded(folder: Path, name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"model {name!r}: its tokenizer cannot be read: {reason}") from error


def row_map(
    owner: Checkpoint, model: Checkpoint, *, matched: bool, accept: Collection[str] = ()
) -> RowMap | str | None:
    """How a model's vocabulary rows go into the rows of the tokenizer's owner; None: as they are.

    With equal vocabularies rows beyond them are padding: more are cut, missing ones are the owner's.
    With different ones, `matched` (a tokenizer_source was given), or accept with special_tokens where
    only added tokens differ, matches rows by token; else ValueError names a token in which they differ.
    Without tokenizer files only equal sizes fit, and a text notes that ids were taken as equal; another
    one notes that equal vocabularies split text in other ways.
    """
    ours, theirs = (vocabulary(one.folder, one.name) for one in (owner, model))
    sizes = n_rows(owner), n_rows(model)
    if ours is None or theirs is None:
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"models {owner.name!r} and {model.name!r} have {sizes[0]} and {sizes[1]} rows of "
                "vocabulary and no tokenizer files (tokenizer.json) that say which belong together"
            )
        which = owner if ours is None else model
        return (
            f"{which.name} has no tokenizer files; ids are taken to mean the same in {model.name}"
        )
    if ours != theirs and not matched:
        _check_accepted(owner, model, dict(ours.items() ^ theirs.items()), accept)
    split = split_otherwise(owner, model) if ours == theirs else None
    if ours == theirs and sizes[0] == sizes[1]:
        return split
    rows = torch.full((sizes[0],), -1)
    for token, number in ours.items():
        place = theirs.get(token, -1)
        if number < sizes[0] and place < sizes[1]:
            rows[number] = place
    kind = "padding rows" if ours == theirs else "rows of tokens it lacks"
    count = int((rows < 0).sum())
    note = f"{model.name}: {count} {kind} are those of {owner.name}"
    return RowMap(rows, note if split is None else f"{note}; {split}")


def _check_accepted(
    owner: Checkpoint, model: Checkpoint, differing: dict[str, int], accept: Collection[str]
) -> None:
    added = {token for one in (owner, model) for token in _added(one)}
    if "special_tokens" in accept and set(differing) <= added:
        return
    ours, theirs = (vocabulary(one.folder, one.name) or {} for one in (owner, model))
    word = min(differing, key=lambda token: (differing[token], token))
    raise ValueError(
        f"models {owner.name!r} and {model.name!r} differ in {len(differing)} tokens, for example "
        f"{word!r} with id {ours.get(word)} and {theirs.get(word)}; give tokenizer_source: base "
        "(or model:<name>) in mergekit's format to match rows by token"
        + (", or accept special_tokens" if set(differing) <= added else "")
    )


def _added(model: Checkpoint) -> set[str]:
    """Tokens that a tokenizer has next to those it was trained with."""
    path = model.folder / "tokenizer.json"
    listed = read_json(path, model.name).get("added_tokens") if path.is_file() else None
    own = {one["content"] for one in listed or ()}
    return own | set(_added_later(model.folder, model.name))


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
