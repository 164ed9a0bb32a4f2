"""Whether checkpoints can be merged tensor by tensor, from configurations and headers alone."""

from lm_merge.spaces.weights.checkpoint import Checkpoint
from lm_merge.spaces.weights.vocabulary import is_vocabulary_tensor

UNEMBEDDINGS = ("lm_head.weight", "embed_out.weight")
N_SHOWN = 3


def merged_names(model: Checkpoint) -> list[str]:
    """Names of the tensors to merge: all, but a tied unembedding that a file holds a second time."""
    tied = model.config.get("tie_word_embeddings") is True
    return [name for name in model.entries if not (tied and name in UNEMBEDDINGS)]


def check_pair(host: Checkpoint, model: Checkpoint, *, whole: bool) -> None:
    """Raise ValueError that says in what a model differs from the host.

    whole: all tensors must be there in both; where slices are put together, blocks may differ in number.
    """
    pair = f"models {host.name!r} and {model.name!r}"
    for key in ("model_type", "architectures"):
        ours, theirs = host.config.get(key), model.config.get(key)
        if ours is not None and theirs is not None and ours != theirs:
            raise ValueError(f"{pair} differ in {key}: {_short(ours)} and {_short(theirs)}")
    _check_tied(host, model, pair)
    ours, theirs = set(merged_names(host)), set(merged_names(model))
    if whole and ours != theirs:
        lacking, more = sorted(ours - theirs), sorted(theirs - ours)
        parts = [f"{model.name!r} lacks {_some(lacking)}"] if lacking else []
        parts += [f"{host.name!r} lacks {_some(more)}"] if more else []
        raise ValueError(f"{pair} hold different tensors: {'; '.join(parts)}")
    for name in sorted(ours & theirs):
        shapes = host.entries[name].shape, model.entries[name].shape
        if shapes[0] == shapes[1]:
            continue
        by_row = is_vocabulary_tensor(host, name) and is_vocabulary_tensor(model, name)
        if not by_row or shapes[0][1:] != shapes[1][1:]:
            raise ValueError(f"{pair}: tensor {name!r} has shapes {shapes[0]} and {shapes[1]}")


def _check_tied(host: Checkpoint, model: Checkpoint, pair: str) -> None:
    for one, other in ((host, model), (model, host)):
        heads = [name for name in UNEMBEDDINGS if name in merged_names(one)]
        if heads and heads[0] not in merged_names(other):
            raise ValueError(
                f"{pair}: {other.name!r} ties its unembedding to its embedding, {one.name!r} has "
                f"{heads[0]!r} of its own; save {other.name!r} untied (or {one.name!r} tied) first"
            )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - N_SHOWN} more" if len(names) > N_SHOWN else ""
    return ", ".join(names[:N_SHOWN]) + more


def _short(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
