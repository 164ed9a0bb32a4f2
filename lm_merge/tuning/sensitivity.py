"""Which block and which adapter carry a merge's recovery: its derivative by every coefficient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.spaces.adapters import AdapterMerge
from lm_merge.tuning.fit import frozen
from lm_merge.tuning.fit_groups import fit_groups, group_of_keys
from lm_merge.tuning.fit_texts import FitBatch, FitTask, fit_batches
from lm_merge.tuning.objectives import Positions, supervised

Rows = Mapping[str, Float[Tensor, " n_sources"]]


@dataclass(frozen=True)
class Sensitivity:
    """Derivatives of one task's recovery.

    groups: names of the blocks, "default" for modules outside. values: [groups, sources], change of
    recovery for a coefficient that grows by 1 in all modules of the block; NaN where the expert explains
    the replies no better than the base. recovery: that of the log-likelihood.
    """

    task: str
    groups: tuple[str, ...]
    values: Float[Tensor, "groups sources"]
    recovery: float


def sensitivities(
    merge: AdapterMerge, tasks: Sequence[FitTask], *, batch_size: int = 16
) -> list[Sensitivity]:
    r"""Of each task, $d\rho / dC$ at the merge's coefficients.

    Accuracy has no derivative; $\rho$ is therefore the recovery of the mean log-likelihood of right
    replies, $(\ell_{merged} - \ell_{base}) / (\ell_{expert} - \ell_{base})$. replies of the tasks: right
    ones. Raises ValueError for an operator that is no sum.
    """
    groups = fit_groups(merge, "block")
    group_of = group_of_keys(merge.updates.keys, groups)
    n_groups = len(set(group_of.values()))  # the default row last, where a module uses it
    names = tuple(one.name for one in groups[:n_groups])
    with frozen(merge.host.require_native("derivatives by coefficients")):
        return [_of_task(merge, task, group_of, names, batch_size) for task in tasks]


def _of_task(
    merge: AdapterMerge,
    task: FitTask,
    group_of: Mapping[str, int],
    names: tuple[str, ...],
    batch_size: int,
) -> Sensitivity:
    n_sources = len(merge.adapters)
    batches = fit_batches(merge.host, task, batch_size, seed=0)
    moved = torch.zeros(len(names), n_sources, requires_grad=True)
    rows = {key: torch.tensor(merge.coefficients[key]) + moved[n] for key, n in group_of.items()}
    expert = torch.tensor([float(one.name == task.expert) for one in merge.adapters])
    with torch.no_grad():
        of_base = _loss(merge, dict.fromkeys(group_of, torch.zeros(n_sources)), batches)
        of_expert = _loss(merge, dict.fromkeys(group_of, expert), batches)
    loss = _loss(merge, rows, batches, backward=True)
    assert moved.grad is not None
    gain = of_base - of_expert
    if not gain > 0:
        nothing = torch.full_like(moved.detach(), torch.nan)
        return Sensitivity(task.name, names, nothing, float("nan"))
    return Sensitivity(task.name, names, -moved.grad / gain, (of_base - loss) / gain)


def _loss(
    merge: AdapterMerge, rows: Rows, batches: Sequence[FitBatch], *, backward: bool = False
) -> float:
    """Mean loss of the replies, over texts of means over their tokens; gradients batch by batch."""
    n_texts, total = sum(len(batch.at) for batch in batches), 0.0
    for place, batch in enumerate(batches):
        with merge.coefficient_tensors(rows):
            logits = merge(batch.texts.tokens, batch.texts.attention_mask)[batch.at].float()
        targets = batch.texts.tokens.roll(-1, dims=1)[batch.at]
        positions = Positions(logits, None, targets, batch.weights)
        loss = supervised(positions) * len(batch.at) / n_texts
        if backward:
            loss.backward(retain_graph=place + 1 < len(batches))
        total += float(loss.detach())
    return total
