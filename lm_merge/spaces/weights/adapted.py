"""A checkpoint with an adapter: each tensor is the base's plus its update when it is read."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Shaped
from torch import Tensor

from lm_merge.models.adapters.adapter import Adapter
from lm_merge.models.adapters.finding import find_adapter
from lm_merge.models.model_class import class_name, names_in_class
from lm_merge.operators.low_rank import LowRank
from lm_merge.spaces.weights.alignment import token_embedding, unembedding
from lm_merge.spaces.weights.checkpoint import Checkpoint


@dataclass(frozen=True)
class TensorUpdates:
    """What an adapter does to the tensors of its base, by their names in the file.

    deltas: in the orientation of the file. replaced: values of modules that were trained whole.
    """

    adapter: Adapter
    deltas: dict[str, LowRank]
    replaced: dict[str, Tensor]

    def touches(self, stored: str) -> bool:
        """Whether a tensor differs from the base's."""
        return stored in self.deltas or stored in self.replaced

    def apply(self, stored: str, values: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """The tensor with its update, in float32 or wider; as it is where there is none."""
        if stored in self.replaced:
            return self.replaced[stored]
        delta = self.deltas.get(stored)
        if delta is None:
            return values
        wide = torch.promote_types(values.dtype, torch.float32)
        return values.to(wide) + delta.to(dtype=wide).dense()


def with_updates(base: Checkpoint, adapter: str) -> Checkpoint:
    """The checkpoint of a base with an adapter; nothing of the base is read or written here.

    Raises ValueError where a module or a shape does not fit, and where the module's tensor is tied to
    another one, which would change with it.
    """
    read = find_adapter(adapter)
    names = _names_in_file(base, read)
    deltas = {
        names[f"{path}.weight"]: _oriented(base, names[f"{path}.weight"], path, delta, read)
        for path, delta in read.deltas.items()
    }
    replaced = {names[key]: value for key, value in read.heads.items()}
    for name, value in replaced.items():
        if base.entries[name].shape != tuple(value.shape):
            raise ValueError(
                f"adapter {read.name!r}: saved module {name!r} has shape {list(value.shape)}, the "
                f"model's is {list(base.entries[name].shape)}"
            )
    _check_not_tied(base, deltas, replaced, read)
    for key, value in read.copies.items():
        own = base.tensor(names[key])
        if own.shape != value.shape or not value.to(own).equal(own):
            raise ValueError(
                f"adapter {read.name!r} was saved with {key!r}, which differs from that of "
                f"{base.name!r}: its base had another vocabulary or other embeddings; name that base"
            )
    return replace(base, updates=TensorUpdates(read, deltas, replaced))


def _names_in_file(base: Checkpoint, adapter: Adapter) -> dict[str, str]:
    """Name of each tensor that the adapter is about -> its name in the checkpoint's files."""
    wanted = [*(f"{path}.weight" for path in adapter.deltas), *adapter.heads, *adapter.copies]
    found = {name: name for name in wanted if name in base.entries}
    if len(found) < len(wanted):
        canonical = names_in_class(base.config, base.entries)
        by_class = {name: stored for stored, name in canonical.items()}
        found |= {name: by_class[name] for name in wanted if name in by_class}
    lacking = [name for name in wanted if name not in found]
    if lacking:
        tied = " (the unembedding is tied to the embedding)" if "head" in lacking[0] else ""
        raise ValueError(
            f"adapter {adapter.name!r} updates {lacking[0]!r}, which {base.name!r} does not hold{tied}; "
            f"the adapter belongs to another base, {adapter.settings.base!r}, or to a tensor that "
            "cannot be merged alone"
        )
    return found


def _oriented(
    base: Checkpoint, stored: str, path: str, delta: LowRank, adapter: Adapter
) -> LowRank:
    """An update in the orientation in which the file has the weight."""
    shape = base.entries[stored].shape
    transposed = _is_transposed(base, path) if shape[0] == shape[-1] else shape != delta.shape
    turned = delta.transposed() if transposed else delta
    if turned.shape != shape:
        raise ValueError(
            f"adapter {adapter.name!r}: module {path!r} has an update of shape {list(delta.shape)}, the "
            f"tensor of {base.name!r} has {list(shape)}; the adapter belongs to another base, "
            f"{adapter.settings.base!r}"
        )
    return turned


def _is_transposed(base: Checkpoint, path: str) -> bool:
    """Whether a square weight is stored as [d_in, d_out], which only its class can tell."""
    from transformers import AutoConfig

    from lm_merge.models.adapters.running import is_transposed
    from lm_merge.models.model_class import model_class

    kind = model_class(base.config)
    if kind is None:
        raise ValueError(
            f"model {base.name!r}: transformers has no class {class_name(base.config)!r}, so the "
            f"orientation of {path!r} is not known; merge the adapter into its model first"
        )
    with torch.device("meta"):
        model = kind(AutoConfig.for_model(**base.config))
    return is_transposed(model.get_submodule(path))


def _check_not_tied(
    base: Checkpoint, deltas: dict[str, LowRank], replaced: dict[str, Tensor], adapter: Adapter
) -> None:
    embedding = token_embedding(base)
    if embedding not in (*deltas, *replaced) or unembedding(base) is not None:
        return
    if not class_name(base.config) or "LM" not in str(class_name(base.config)):
        return  # no unembedding that could be tied
    raise ValueError(
        f"adapter {adapter.name!r} updates {embedding!r}, to which {base.name!r} ties its unembedding: "
        "a merge of weights would change both; save the base untied first, or merge in another space"
    )
