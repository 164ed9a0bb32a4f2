"""A base model with an adapter in its modules: shared weights, and an update added to each output."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import embedding, linear
from transformers import PreTrainedModel

from lm_merge.models.adapters.adapter import Adapter
from lm_merge.models.weight_sharing import weight_sharing_copy
from lm_merge.operators.low_rank import LowRank


def add_update(
    output: Float[Tensor, "*batch d_out"],
    given: Tensor,
    a: Float[Tensor, "rank d_in"],
    b: Float[Tensor, "d_out rank"],
    coefficients: Float[Tensor, " rank"] | None = None,
) -> Float[Tensor, "*batch d_out"]:
    """What a module gives, plus the update of what it was given: `output + given @ a.T * c @ b.T`.

    given: states [*batch, d_in], or the token ids of an embedding. coefficients: one a row of a; None:
    ones. The update is computed in the factors' dtype and the sum has the output's.
    """
    if given.is_floating_point():
        inner = linear(given.to(a.dtype), a)
    else:
        inner = embedding(given, a.mT)
    if coefficients is not None:
        inner = inner * coefficients
    if output.dtype != inner.dtype:
        return output + linear(inner, b).to(output.dtype)
    rows = inner.reshape(-1, inner.shape[-1])
    return torch.addmm(output.reshape(-1, output.shape[-1]), rows, b.mT).view_as(output)


class _WithUpdate(nn.Module):
    """A module's class with `update_a` and `update_b`, buffers that hold the factors of its update."""

    update_a: Tensor
    update_b: Tensor

    def forward(self, given: Tensor) -> Tensor:
        return add_update(super().forward(given), given, self.update_a, self.update_b)


def with_adapter(native: PreTrainedModel, adapter: Adapter) -> PreTrainedModel:
    """The base with an adapter, as a model of its own over the very same parameters.

    The base stays as it is and its weights are held once. Heads that the adapter trained are the
    model's own. Raises ValueError where a module or a shape does not fit.
    """
    check_fits(native, [adapter])
    model: Any = weight_sharing_copy(native)
    for path, delta in adapter.deltas.items():
        module = model.get_submodule(path)
        factors = factors_for(module, delta)
        module.__class__ = _class_with_update(type(module))
        module.register_buffer("update_a", factors.a, persistent=False)
        module.register_buffer("update_b", factors.b, persistent=False)
    for key, tensor in adapter.heads.items():
        parent, _, leaf = key.rpartition(".")
        old = model.get_submodule(parent)._parameters[leaf]
        own = nn.Parameter(tensor.to(old.device, old.dtype), requires_grad=old.requires_grad)
        model.get_submodule(parent)._parameters[leaf] = own
    return model


@cache
def _class_with_update(kind: type[nn.Module]) -> type[nn.Module]:
    return type(f"{kind.__name__}WithUpdate", (_WithUpdate, kind), {})


def factors_for(module: nn.Module, delta: LowRank) -> LowRank:
    """An update on its module's device, in float32 or wider, with the scale inside b."""
    moved = delta.to(*place_of_update(module))
    return LowRank(moved.a, moved.scale * moved.b)


def place_of_update(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and dtype of a module's update: its weight's device, float32 or wider."""
    weight = module.weight
    assert isinstance(weight, Tensor)  # checked by check_fits
    own = weight.dtype if weight.is_floating_point() else torch.float32
    return weight.device, torch.promote_types(torch.float32, own)


def check_fits(native: PreTrainedModel, adapters: Iterable[Adapter]) -> None:
    """Raise ValueError that names a module which the model lacks or which has another shape."""
    shapes = {
        path: shape_of(module)
        for path, module in native.named_modules()
        if isinstance(getattr(module, "weight", None), Tensor)
    }
    parameters = dict(native.named_parameters(remove_duplicate=False))
    for adapter in adapters:
        for path, delta in adapter.deltas.items():
            if path not in shapes or shapes[path] not in (delta.shape, None):
                raise ValueError(_misfit(adapter, path, shapes, type(native).__name__))
        _check_saved(adapter, parameters)


def _misfit(
    adapter: Adapter, path: str, shapes: Mapping[str, tuple[int, int] | None], kind: str
) -> str:
    where, base = f"adapter {adapter.name!r}: module {path!r}", adapter.settings.base
    if path not in shapes:
        return (
            f"{where} is not in the model ({kind}); the adapter belongs to another base, {base!r}"
        )
    return (
        f"{where} has an update of shape {list(adapter.deltas[path].shape)}, the model's weight is "
        f"{list(shapes[path] or ())}; the adapter belongs to another base, {base!r}"
    )


def _check_saved(adapter: Adapter, parameters: Mapping[str, nn.Parameter]) -> None:
    for key, tensor in adapter.copies.items():
        own = parameters.get(key)
        if own is None or own.shape != tensor.shape or not tensor.to(own).equal(own):
            raise ValueError(
                f"adapter {adapter.name!r} was saved with {key!r}, which differs from the model's: its "
                "base had another vocabulary or other embeddings; load that base"
            )
    for key, tensor in adapter.heads.items():
        if key not in parameters or parameters[key].shape != tensor.shape:
            found = list(parameters[key].shape) if key in parameters else "not in the model"
            raise ValueError(
                f"adapter {adapter.name!r}: saved module {key!r} has shape {list(tensor.shape)}, the "
                f"model's is {found}"
            )


def shape_of(module: nn.Module) -> tuple[int, int] | None:
    """(d_out, d_in) of a linear module or embedding; None for a packed (quantised) weight."""
    if isinstance(module, nn.Embedding):
        return module.embedding_dim, module.num_embeddings
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    weight = module.weight
    if isinstance(weight, Tensor) and weight.ndim == 2 and is_transposed(module):
        return weight.shape[1], weight.shape[0]
    return None


def is_transposed(module: nn.Module) -> bool:
    """Whether a module keeps its weight as [d_in, d_out], as GPT-2's do and embeddings."""
    return type(module).__name__.startswith("Conv1D") or isinstance(module, nn.Embedding)
