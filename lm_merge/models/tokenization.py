"""Whether two tokenizers of one vocabulary split text in the same way."""

import json
from collections.abc import Mapping
from typing import Any

PARTS = ("merges", "scores of its tokens", "normalizer", "pre_tokenizer")


def tokenization(content: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how text is split, by words of `PARTS`, from the content of a tokenizer.json."""
    model = content.get("model") or {}
    words = model.get("vocab")
    return {
        # older files hold a merge as one text
        "merges": [
            one if isinstance(one, str) else " ".join(one) for one in model.get("merges") or ()
        ],
        "scores of its tokens": words if isinstance(words, list) else None,
        "normalizer": content.get("normalizer"),
        "pre_tokenizer": content.get("pre_tokenizer"),
    }


def tokenization_of(tokenizer: Any) -> dict[str, Any] | None:
    """The same of a tokenizer that is loaded; None where it is not one of the tokenizers library."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    return None if fast is None else tokenization(json.loads(fast.to_str()))


def splitting_note(
    host: str, donor: str, ours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None
) -> str | None:
    """In which parts two tokenizers differ, in a sentence; None for none and for one not known."""
    if ours is None or theirs is None:
        return None
    parts = [part for part in PARTS if _differ(ours[part], theirs[part])]
    if not parts:
        return None
    return (
        f"{donor} has the tokens of {host} but splits text in another way ({', '.join(parts)}); "
        f"the tokenizer of {host} is used"
    )


def _differ(ours: Any, theirs: Any) -> bool:
    """Whether two values differ; an entry that only one of two mappings has is a default."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return any(_differ(ours[key], theirs[key]) for key in ours.keys() & theirs.keys())
    return ours != theirs
