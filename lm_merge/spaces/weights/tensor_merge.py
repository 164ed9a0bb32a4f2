"""Merging one tensor: chunk by chunk where the method allows it, so that memory stays small."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.accumulation import wide
from lm_merge.operators.linear import lerp
from lm_merge.operators.random_masks import mask_seed
from lm_merge.operators.span import NEARLY_PARALLEL, slerp_unnormalized, weights_in_span
from lm_merge.operators.weight_methods import TensorFunction
from lm_merge.spaces.weights.data_merge import data_combination
from lm_merge.spaces.weights.plan import Input, TensorPlan, method_of
from lm_merge.spaces.weights.statistics import Statistics

CHUNK = 1 << 18  # values: a few models' chunks fit into a core's cache
Write = Callable[[Tensor, int], None]  # values, and the place of the first


@dataclass(frozen=True)
class Setting:
    """What all tensors of a merge share: seed of random masks, whose results to equal, statistics."""

    seed: int = 0
    compat: str | None = None
    statistics: Statistics = field(default_factory=dict)


def merge_tensor(plan: TensorPlan, write: Write, setting: Setting) -> str | None:
    """Compute a tensor and write it piece by piece; a note where the method was undefined.

    Raises ValueError that names tensor and model for values that are not finite.
    """
    flats = [one.flat for one in plan.inputs]
    base = None if plan.base is None else plan.base.flat
    if plan.is_copy:
        _check_equal(plan, flats)
        for start, values in _chunks(flats[0]):
            _check_finite(values, plan.inputs[0], plan.name)
            write(values, start)
        return None
    method, weights, note = method_of(plan), torch.tensor(plan.weights).unsqueeze(-1), None
    if plan.by_row:
        merged, note = _merged_by_row(plan, flats, base, _direction(plan, setting.compat))
        write(_in_dtype(merged, plan), 0)
        return note
    combine = method.combine
    if method.thin is not None:
        flats = [_thinned(plan, number, flats, base, setting) for number in range(len(flats))]
        if combine is not lerp:
            combine = partial(combine, normalize=bool(plan.options["normalize"]))
    elif method.direction is not None:
        weights, note = _turned_weights(
            plan, flats, base, weights, _direction(plan, setting.compat)
        )
    elif method.statistics is not None:
        by_data = data_combination(plan, setting.statistics)
        if by_data is not None:
            size = plan.n_values if method.statistics == "gram" else CHUNK
            for start, states in _states(plan, flats, None, check=True, size=size):
                write(_in_dtype(by_data(states, start), plan), start)
            return None
        note = f"{plan.name}: no {method.statistics} statistic, so the mean"
    normal = method.thin is None
    for start, states in _states(plan, flats, base if normal else None, check=normal):
        merged = (
            combine(states, weights) * plan.scale if plan.scale != 1 else combine(states, weights)
        )
        if base is not None:
            merged = merged.add_(base[start : start + merged.shape[-1]])
        write(_in_dtype(merged, plan), start)
    return note


def _in_dtype(merged: Float[Tensor, " n"], plan: TensorPlan) -> Float[Tensor, " n"]:
    """Values in the dtype of the output; ValueError if any is not finite there."""
    if merged.numel() and not torch.stack(merged.aminmax()).to(plan.dtype).isfinite().all():
        wider = "" if plan.dtype == torch.float32 else ", or a wider dtype, such as float32"
        raise ValueError(
            f"tensor {plan.name!r}: {plan.method} gives values that are not finite in "
            f"{str(plan.dtype).removeprefix('torch.')}; give smaller weights{wider}"
        )
    return merged.to(plan.dtype)


def _states(
    plan: TensorPlan,
    flats: list[Tensor],
    base: Tensor | None,
    *,
    check: bool,
    size: int = CHUNK,
) -> Iterator[tuple[int, Float[Tensor, "n_models n"]]]:
    """The models' values, or task vectors, in float32, one chunk after the other."""
    for start in range(0, plan.n_values, size):
        pieces = [flat[start : start + size] for flat in flats]
        states = torch.stack([piece.float() for piece in pieces])
        if check and not states.sum().isfinite():
            for piece, one in zip(pieces, plan.inputs, strict=True):
                _check_finite(piece, one, plan.name)
        if base is not None:
            ancestor = base[start : start + size].float()
            assert plan.base is not None
            _check_finite(ancestor, plan.base, plan.name)
            states -= ancestor
        yield start, states


def _chunks(flat: Tensor) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(flat), CHUNK):
        yield start, flat[start : start + CHUNK]


def _check_equal(plan: TensorPlan, flats: list[Tensor]) -> None:
    """Whole numbers, such as indices, have no mean: they are copied, and must be the same."""
    for flat, one in zip(flats[1:], plan.inputs[1:], strict=True):
        if not torch.equal(flat, flats[0]):
            raise ValueError(
                f"tensor {plan.name!r} has dtype {flat.dtype} and other values in model "
                f"{one.model.name!r} than in {plan.inputs[0].model.name!r}; it cannot be merged"
            )


def _check_finite(values: Tensor, origin: Input, name: str) -> None:
    if not values.dtype.is_floating_point or values.sum(dtype=torch.float32).isfinite():
        return
    if not values.isfinite().all():  # a sum may also overflow
        where = origin.tensor if origin.tensor == name else f"{origin.tensor} (for {name})"
        raise ValueError(f"tensor {where!r} of model {origin.model.name!r} holds NaN or infinity")


def _thinned(
    plan: TensorPlan,
    number: int,
    flats: list[Tensor],
    base: Tensor | None,
    setting: Setting,
) -> Float[Tensor, " n"]:
    assert base is not None  # methods that thin need an ancestor
    assert plan.base is not None
    method, vector = method_of(plan), torch.empty(plan.n_values)
    for (start, values), (_, ancestor) in zip(_chunks(flats[number]), _chunks(base), strict=True):
        vector[start : start + len(values)] = values.float() - ancestor.float()
    _check_finite(base, plan.base, plan.name)
    _check_finite(flats[number], plan.inputs[number], plan.name)
    options: dict[str, object] = dict(plan.thinning[number])
    if options.get("density") == 1:
        return vector
    if method.random:
        options["seed"] = mask_seed(setting.seed, plan.name, number)
        options["rescale"] = "l1" if setting.compat == "mergekit" else "density"
    assert method.thin is not None
    if method.thin_by_row and plan.shape:
        return method.thin(vector.view(plan.shape), **options).reshape(-1)
    return method.thin(vector, **options)


def _direction(plan: TensorPlan, compat: str | None) -> TensorFunction:
    direction = method_of(plan).direction
    assert direction is not None
    if plan.method == "slerp" and compat == "mergekit":
        return partial(slerp_unnormalized, straight_above=NEARLY_PARALLEL)
    if plan.method == "karcher":
        steps, tol = int(plan.options["max_iter"]), float(plan.options["tol"])
        return partial(direction, max_iter=steps, tol=tol)
    return direction


def _merged_by_row(
    plan: TensorPlan, flats: list[Tensor], base: Tensor | None, direction: TensorFunction
) -> tuple[Float[Tensor, " n"], str | None]:
    """Every row by `direction`; the weighted sum in rows where that is undefined, and a note."""
    columns = bool(plan.options.get("nuslerp_row_wise", False))  # the peer's name; see the README
    states = torch.stack([flat.float().view(plan.shape) for flat in flats])
    for flat, one in zip(flats, plan.inputs, strict=True):
        _check_finite(flat, one, plan.name)
    if base is not None:
        states -= base.float().view(plan.shape)
    weights = torch.tensor(plan.weights).view(-1, *[1] * len(plan.shape))
    if columns:
        states = states.transpose(1, -1)
    merged = direction(states, weights)
    undefined = ~merged.isfinite().all(dim=-1, keepdim=True)
    merged = torch.where(undefined, lerp(states, weights), merged)
    merged = (merged.transpose(0, -1) if columns else merged).reshape(-1) * plan.scale
    note, count = None, int(undefined.sum())
    if count:
        note = f"{plan.name}: {plan.method} is undefined in {count} rows; the weighted sum is taken"
    return (merged if base is None else merged + base.float()), note


def _turned_weights(
    plan: TensorPlan,
    flats: list[Tensor],
    base: Tensor | None,
    weights: Float[Tensor, "n_models 1"],
    direction: TensorFunction,
) -> tuple[Float[Tensor, "n_models 1"], str | None]:
    """Weights whose plain sum is what `direction` gives; the given ones where it is undefined."""
    gram = torch.zeros(len(flats), len(flats), dtype=torch.float64)
    for _, states in _states(plan, flats, base, check=True):
        differences = wide(states)
        differences[1:] -= differences[:1].clone()
        gram += differences @ differences.T
    turned = weights_in_span(gram, wide(weights), direction)
    if not turned.isfinite().all():
        return weights, f"{plan.name}: {plan.method} is undefined there; the weighted sum is taken"
    return turned.float(), None
