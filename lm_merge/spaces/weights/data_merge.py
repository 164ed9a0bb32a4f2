"""Merging a tensor by statistics of data: regmean and fisher."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.accumulation import wide
from lm_merge.operators.data_based import fisher_mean, gram_mean
from lm_merge.spaces.weights.plan import TensorPlan
from lm_merge.spaces.weights.statistics import Statistics


def data_combination(
    plan: TensorPlan, statistics: Statistics
) -> Callable[[Float[Tensor, "n_models n"], int], Tensor] | None:
    """How the models' values from a place on are merged; None where no statistic says it: the mean."""
    handles = [statistics[one.model.name] for one in plan.inputs]
    pairs = list(zip(handles, plan.inputs, strict=True))
    if any(one.rows is not None or one.tensor not in handle.keys() for handle, one in pairs):
        return None
    equal = len(set(plan.weights)) == 1
    weights = None if equal else torch.tensor(plan.weights, dtype=torch.float64)
    measured = [handle.get_tensor(one.tensor) for handle, one in pairs]
    if plan.method == "regmean":
        transposed = plan.inputs[0].tensor in json.loads(handles[0].metadata()["transposed"])
        grams = wide(torch.stack(measured))

        def by_gram(states: Float[Tensor, "n_models n"], first: int) -> Tensor:
            assert first == 0  # a layer is merged whole
            layers = wide(states).view(-1, *plan.shape)
            layers = layers.mT if transposed else layers
            off_diagonal = float(plan.options["off_diagonal"])
            merged = gram_mean(layers, grams, weights, off_diagonal=off_diagonal)
            return (merged.mT if transposed else merged).reshape(-1).float()

        return by_gram
    flats = [values.reshape(-1) + float(plan.options["floor"]) for values in measured]
    if plan.options["equal_norms"]:
        weights = _over_norms(plan, handles)

    def by_fisher(states: Float[Tensor, "n_models n"], first: int) -> Tensor:
        last = first + states.shape[-1]
        return fisher_mean(states, torch.stack([flat[first:last] for flat in flats]), weights)

    return by_fisher


def _over_norms(plan: TensorPlan, handles: Sequence[Any]) -> Float[Tensor, " n_models"]:
    """The models' weights divided by the norms of their Fisher information, with a sum of 1."""
    norms = [float(handle.metadata()["norm"]) for handle in handles]
    for one, norm in zip(plan.inputs, norms, strict=True):
        if not norm > 0:
            raise ValueError(
                f"model {one.model.name!r}: its Fisher information is 0 on these prompts, so that it "
                "has no norm to divide by; give other prompts, or equal_norms: false"
            )
    scaled = torch.tensor(plan.weights, dtype=torch.float64) / torch.tensor(
        norms, dtype=torch.float64
    )
    return scaled / scaled.sum()
