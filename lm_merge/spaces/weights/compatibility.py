"""Whether checkpoints can be merged tensor by tensor, from configurations and headers alone."""

from lm_merge.models.checkpoint_files import some
from lm_merge.spaces.weights.alignment import unembedding
from lm_merge.spaces.weights.checkpoint import Checkpoint
from lm_merge.spaces.weights.vocabulary import is_vocabulary_tensor


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
    ours, theirs = set(host.entries), set(model.entries)
    if whole and ours != theirs:
        lacking, more = sorted(ours - theirs), sorted(theirs - ours)
        parts = [f"{model.name!r} lacks {some(lacking)}"] if lacking else []
        parts += [f"{host.name!r} lacks {some(more)}"] if more else []
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
        head = unembedding(one)
        if head is not None and unembedding(other) is None:
            raise ValueError(
                f"{pair}: {other.name!r} ties its unembedding to its embedding, {one.name!r} has "
                f"{head!r} of its own; save {other.name!r} untied (or {one.name!r} tied) first"
            )


def _short(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
